/* What test_unwind calls in the libraries that it loads. */
#ifndef MP_TESTS_UNIT_UNWIND_MODULE_H
#define MP_TESTS_UNIT_UNWIND_MODULE_H

__attribute__((visibility("default"))) void unwind_module_call(void (*back)(void));

#endif
