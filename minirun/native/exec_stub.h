/*
 * What the parts of exec_stub share: the plan that Python packs (minirun/runtime/create/init_plan.py; change both
 * together), and the functions that they call of each other. exec_stub.c says what each part is for.
 */

#ifndef MINIRUN_INIT_H
#define MINIRUN_INIT_H

#include <linux/filter.h>
#include <stdint.h>
#include <sys/types.h>

#define PLAN_MAGIC 0x6d72756eu /* "mrun" */

enum {
    PLAN_NO_NEW_PRIVILEGES = 1, /* set no_new_privs */
    PLAN_REAPER = 2,            /* stay as PID 1, forward signals, reap orphans */
    PLAN_KEEP_GROUPS = 4,       /* setgroups is denied in this user namespace: leave the groups alone */
    PLAN_TERMINAL = 8,          /* standard input becomes the controlling terminal of the new process (birth.c) */
    PLAN_TELL = 16,             /* events go over the channel, not over `trace_fd` */
};

struct plan {
    uint32_t magic;
    uint32_t flags;
    uint64_t bounding, effective, permitted, inheritable, ambient; /* bit n is capability n */
    uint32_t uid, gid;
    int32_t channel_fd;   /* to minirun (runtime/create/protocol.py), until all that can fail has been done */
    int32_t start_fd;     /* fifo that `start` writes to; -1: do not wait */
    int32_t trace_fd;     /* datagram socket for --explain; -1: nobody watches */
    int32_t attribute_fd; /* the directory /proc/self/attr, for a label; -1: there is none */
    int32_t state_fd;     /* the container's state, which hooks read; -1: there are no hooks */
    int32_t birth_fd;     /* file in memory for the pid of the new process (birth.c); -1: this process is the one */
    int32_t gate_fd;      /* pipe that minirun writes to when the new process has its priorities; -1: it gets none */
    uint32_t preserve;    /* descriptors after 2 that the command inherits */
    uint32_t seccomp_flags;
    uint32_t group_count;
    uint32_t seccomp_count; /* instructions; 0: no filter */
    uint32_t hook_count;
    uint32_t text_size; /* bytes of strings, each with a NUL: label's file, label, then each hook's, in order */
    uint32_t reserved;
};

/* A hook's strings are its path, its arguments and its environment. */
struct hook {
    uint32_t timeout; /* seconds; 0: none */
    uint32_t argument_count, variable_count;
};

/* Where the parts of the plan begin. */
struct parts {
    const gid_t *groups;
    struct sock_filter *filter;
    const struct hook *hooks;
    char *text;
};

/* ---- report.c: telling what happens -------------------------------------------------------------------------- */

extern int channel_fd; /* to minirun; -1: it has heard everything */

void report_to(int trace_fd, int over_channel);
void begin_step(const char *title, const char *topic, const char *why);
uint64_t now_ns(void);
void report(const char *operation, const char *arguments, const char *man, uint64_t started, int error);
void prepare_report_of_exec(void);
void report_exec(void);
void report_failed_exec(int error);
void leave_report_of_exec(void);

const char *reason_of(int error);
const char *signal_text(int number);
void complain(const char *what, const char *subject, int error);
_Noreturn void leave(int status);
_Noreturn void fail(const char *what, int error);
void send_descriptor(const char *message, int descriptor, const char *failure);

/* ---- credentials.c: giving up privileges --------------------------------------------------------------------- */

uint64_t needed_for_filter(const struct plan *plan);
void set_credentials(const struct plan *plan, const gid_t *groups, uint64_t kept);
void set_capabilities(const struct plan *plan, uint64_t kept);

/* ---- birth.c: the process that joins a PID namespace ---------------------------------------------------------- */

void be_born(const struct plan *plan);

#endif
