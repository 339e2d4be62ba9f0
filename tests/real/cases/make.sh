# make -j4: a tree of generated rules, its job server, sub-makes, functions, and a rule that fails.
# set: core
# needs: make
# witness: make submake
# limit: 90
# shellcheck shell=bash

targets=$(scale 60 300)
mkdir sub
{
    echo 'SHELL = /bin/sh'
    echo "NAMES := \$(shell seq 1 $targets)"
    cat <<'M'
OBJECTS := $(addprefix out/,$(addsuffix .o,$(NAMES)))
long := $(foreach a,$(NAMES),$(foreach b,1 2 3 4 5 6 7 8,$(a).$(b)))
define rule
out/$(1).o: in/$(1).txt | out
	@sort -r $$< | sed 's/^/$(1): /' >$$@ && touch $$@.d
endef
all: sum sub/done functions maps
out in:
	@mkdir -p $@
in/%.txt: | in
	@seq 1 `expr $* \* 3` >$@
$(foreach n,$(NAMES),$(eval $(call rule,$(n))))
sum: $(OBJECTS)
	@cat $(sort $^) | cksum >$@
sub/done: $(OBJECTS)
	@$(MAKE) --no-print-directory -C sub COUNT=40
functions:
	@echo $(words $(long)) $(lastword $(sort $(long))) $(words $(filter %.3,$(long)))
	@echo $(subst .,-,$(wordlist 5,12,$(long))) $(patsubst %.1,[%],$(wordlist 9,9,$(long)))
maps:
	@cat /proc/$$PPID/maps >tmp/maps
M
} >Makefile
cat >sub/Makefile <<'M'
all: done
parts := $(foreach n,$(shell seq $(COUNT)),part-$(n))
$(parts): part-%:
	@printf '%0*d\n' $* 7 >$@
done: $(parts)
	@cat $(parts) | cksum
	@cat /proc/$$PPID/maps >../tmp/maps-sub
	@touch $@
M
make -j4 >said 2>&1 || status cat said
sort said
mapped_text make tmp/maps
mapped_text submake tmp/maps-sub
cat sum
make -j4 sum
touch in/7.txt
make -j4 -n sum | sort
make -pn -f sub/Makefile COUNT=3 | grep -vE '^(#|MAKE|PATH|.*(REAL|LD_PRELOAD|MEMPROF))' | grep '^part-' | sort
cat >wrong.mk <<'M'
all: a b
a:
	@echo a is made
b: a
	@echo b is not; exit 7
M
status make -f wrong.mk
status make -k -f wrong.mk 2>&1
status make absent
status make -f <(printf 'x:\n  spaces instead of a tab\n')
