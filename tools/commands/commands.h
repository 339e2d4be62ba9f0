/* The commands of `memprof`, one file each: argv[0] is the command's name; they return the exit
 * status, and have said why on stderr if it is not 0. */
#ifndef COMMANDS_COMMANDS_H
#define COMMANDS_COMMANDS_H

int command_run(int argc, char **argv);
int command_ps(int argc, char **argv);
int command_dump(int argc, char **argv);
int command_watch(int argc, char **argv);

#endif
