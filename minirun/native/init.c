/*
 * init - the last step before the user's command.
 *
 * Python has built the container's world by now and executes this program from a sealed copy in memory. It waits to be
 * started, gives up privileges and becomes the user's command. It is C for three reasons: a created container waits in
 * well under 1 MB; nothing of the host's Python can be reached through /proc/self/exe (CVE-2019-5736); and a seccomp
 * filter that refuses most system calls is loaded when only a handful of them is still needed.
 *
 *   init PLAN_FD PROGRAM ARG0 [ARG...]      the environment is the command's own
 *
 * The plan is `struct plan` below, then the supplementary groups, then the seccomp program. Python packs it
 * (minirun/runtime/credentials.py): change both together.
 *
 * The order matters:
 *   1. wait        the start fifo gives one byte when `start` is called
 *   2. no_new_privs  first, because it lets an unprivileged process load a filter
 *   3. seccomp     now if no_new_privs is off: loading then needs CAP_SYS_ADMIN, which step 4 takes away;
 *                  after step 4 otherwise, so that the filter need not allow what step 4 does
 *   4. credentials bounding set, groups, gid, uid, capability sets, ambient set - each needs a right the next gives up
 *   5. close       every other descriptor (CVE-2024-21626)
 *   6. exec        or, with --init, fork first and stay as the PID 1 that reaps orphans
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PLAN_MAGIC 0x6d72756eu /* "mrun" */

enum {
    PLAN_NO_NEW_PRIVILEGES = 1, /* set no_new_privs */
    PLAN_REAPER = 2,            /* stay as PID 1, forward signals, reap orphans */
    PLAN_KEEP_GROUPS = 4,       /* setgroups is denied in this user namespace: leave the groups alone */
};

struct plan {
    uint32_t magic;
    uint32_t flags;
    uint64_t bounding, effective, permitted, inheritable, ambient; /* bit n is capability n */
    uint32_t uid, gid;
    int32_t start_fd;  /* fifo that `start` writes to; -1: do not wait */
    int32_t trace_fd;  /* datagram socket for --explain; -1: nobody watches */
    uint32_t preserve; /* descriptors after 2 that the command inherits */
    uint32_t seccomp_flags;
    uint32_t group_count;
    uint32_t seccomp_count; /* instructions; 0: no filter */
};

static int trace_fd = -1;

/* ---- telling what happens: see minirun/kernel/trace.py ------------------------------------------------------- */

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static const char *errno_name(int error)
{
    switch (error) {
    case 0: return "";
    case EPERM: return "EPERM";
    case ENOENT: return "ENOENT";
    case EACCES: return "EACCES";
    case EINVAL: return "EINVAL";
    case ENOEXEC: return "ENOEXEC";
    case ENOMEM: return "ENOMEM";
    default: return "error";
    }
}

/* Sends one operation as an event. `arguments` is JSON text and holds nothing that comes from outside. */
static void report(const char *operation, const char *arguments, const char *man, uint64_t started, int error)
{
    char text[1024];
    if (trace_fd < 0)
        return;
    int length = snprintf(text, sizeof text,
                          "{\"process\":\"container\",\"pid\":%d,\"steps\":[[\"become the user's command\","
                          "\"exec\",\"A small C program gives up privileges in an order that cannot be undone.\"]],"
                          "\"operation\":\"%s\",\"arguments\":%s,\"result\":\"\",\"error\":\"%s\",\"started_ns\":%llu,"
                          "\"duration_ns\":%llu,\"man\":\"%s\",\"shell\":\"\"}",
                          (int)getpid(), operation, arguments, errno_name(error), (unsigned long long)started,
                          (unsigned long long)(now_ns() - started), man);
    if (length > 0 && length < (int)sizeof text && send(trace_fd, text, (size_t)length, MSG_NOSIGNAL) < 0)
        trace_fd = -1; /* whoever watched has gone */
}

/* An ignored signal stays ignored over exec, and Python ignores some: the command starts with every default. */
static void reset_signals(void)
{
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
}

/* ---- giving up ----------------------------------------------------------------------------------------------- */

static void complain(const char *what, const char *subject, int error)
{
    dprintf(STDERR_FILENO, "minirun: %s%s: %s\n", what, subject, strerror(error));
}

static void fail(const char *what, int error)
{
    complain(what, "", error);
    _exit(125);
}

/* ---- the steps ----------------------------------------------------------------------------------------------- */

static const struct plan *read_plan(int fd)
{
    struct stat status;
    if (fstat(fd, &status) < 0)
        fail("cannot read the plan", errno);
    const struct plan *plan = mmap(NULL, (size_t)status.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    if (plan == MAP_FAILED)
        fail("cannot map the plan", errno);
    if ((size_t)status.st_size < sizeof *plan || plan->magic != PLAN_MAGIC)
        fail("the plan is not one of this version", EINVAL);
    size_t needed = sizeof *plan + plan->group_count * sizeof(uint32_t) + plan->seccomp_count * sizeof(struct sock_filter);
    if ((size_t)status.st_size < needed)
        fail("the plan is cut off", EINVAL);
    return plan;
}

static void wait_for_start(int fifo)
{
    char byte;
    ssize_t count;
    do
        count = read(fifo, &byte, 1);
    while (count < 0 && errno == EINTR);
    if (count != 1)
        fail("the container was not started", errno);
    close(fifo);
}

static void load_seccomp(const struct plan *plan)
{
    const uint32_t *groups = (const uint32_t *)(plan + 1);
    struct sock_fprog program = {
        .len = (unsigned short)plan->seccomp_count,
        .filter = (struct sock_filter *)(groups + plan->group_count),
    };
    char arguments[64];
    uint64_t started = now_ns();
    if (syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, plan->seccomp_flags, &program) < 0)
        fail("cannot load the seccomp filter", errno);
    snprintf(arguments, sizeof arguments, "{\"instructions\":\"%u\"}", plan->seccomp_count);
    report("seccomp", arguments, "seccomp(2)", started, 0);
}

static void set_credentials(const struct plan *plan)
{
    const gid_t *groups = (const gid_t *)(plan + 1);
    char arguments[256];
    uint64_t started = now_ns();

    for (int capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (!(plan->bounding >> capability & 1) && prctl(PR_CAPBSET_READ, capability, 0, 0, 0) == 1 &&
            prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0)
            fail("cannot drop a capability from the bounding set", errno);
    snprintf(arguments, sizeof arguments, "{\"bounding\":\"%016llx\"}", (unsigned long long)plan->bounding);
    report("drop_bounding_set", arguments, "prctl(2)", started, 0);

    /* Without this the change of uid from 0 would clear the permitted set before step "capset" can choose from it. */
    if (prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
        fail("cannot keep capabilities over the change of user", errno);
    started = now_ns();
    if (!(plan->flags & PLAN_KEEP_GROUPS) && syscall(SYS_setgroups, plan->group_count, groups) < 0)
        fail("cannot set the supplementary groups", errno);
    if (syscall(SYS_setresgid, plan->gid, plan->gid, plan->gid) < 0)
        fail("cannot set the group", errno);
    if (syscall(SYS_setresuid, plan->uid, plan->uid, plan->uid) < 0)
        fail("cannot set the user", errno);
    snprintf(arguments, sizeof arguments, "{\"uid\":\"%u\",\"gid\":\"%u\",\"groups\":\"%u\"}", plan->uid, plan->gid,
             plan->group_count);
    report("set_user", arguments, "setresuid(2)", started, 0);
    prctl(PR_SET_KEEPCAPS, 0, 0, 0, 0);

    started = now_ns();
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[2];
    for (int half = 0; half < 2; half++) {
        sets[half].effective = (uint32_t)(plan->effective >> (32 * half));
        sets[half].permitted = (uint32_t)(plan->permitted >> (32 * half));
        sets[half].inheritable = (uint32_t)(plan->inheritable >> (32 * half));
    }
    if (syscall(SYS_capset, &header, sets) < 0)
        fail("cannot set the capabilities", errno);
    snprintf(arguments, sizeof arguments, "{\"effective\":\"%016llx\",\"permitted\":\"%016llx\"}",
             (unsigned long long)plan->effective, (unsigned long long)plan->permitted);
    report("capset", arguments, "capset(2)", started, 0);

    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);
    for (int capability = 0; capability < 64; capability++)
        if (plan->ambient >> capability & 1 && prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability, 0, 0) < 0)
            fail("cannot raise an ambient capability", errno);
}

static void execute(const char *program, char **arguments, char **environment)
{
    report("execve", "{}", "execve(2)", now_ns(), 0);
    execve(program, arguments, environment);
    int error = errno;
    complain("exec ", program, error);
    _exit(error == ENOENT ? 127 : 126);
}

/* ---- the PID 1 of `--init` ----------------------------------------------------------------------------------- */

static pid_t command;

static void forward(int number)
{
    kill(command, number);
}

/* Runs the command as a child, forwards every signal that can be caught, reaps orphans, ends as the command ends. */
static void reap_as_init(const char *program, char **arguments, char **environment)
{
    int status;
    command = fork();
    if (command < 0)
        fail("cannot fork", errno);
    if (command == 0) {
        /* An own process group in the terminal's foreground, so that Ctrl-C reaches the command and not its init. */
        setpgid(0, 0);
        if (isatty(STDIN_FILENO)) {
            signal(SIGTTOU, SIG_IGN);
            tcsetpgrp(STDIN_FILENO, getpgrp());
            signal(SIGTTOU, SIG_DFL);
        }
        execute(program, arguments, environment);
    }
    for (int number = 1; number < NSIG; number++)
        if (number != SIGCHLD && number != SIGKILL && number != SIGSTOP && number != SIGTTIN && number != SIGTTOU)
            signal(number, forward);
    for (;;) {
        pid_t pid = waitpid(-1, &status, 0);
        if (pid == command && !WIFSTOPPED(status))
            _exit(WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
        if (pid < 0 && errno == ECHILD)
            _exit(125);
    }
}

int main(int count, char **arguments, char **environment)
{
    if (count < 4) {
        dprintf(STDERR_FILENO, "minirun: init is started by minirun only\n");
        return 125;
    }
    const struct plan *plan = read_plan(atoi(arguments[1]));
    const char *program = arguments[2];
    int seccomp_early = !(plan->flags & PLAN_NO_NEW_PRIVILEGES);
    trace_fd = plan->trace_fd;

    reset_signals();
    if (plan->start_fd >= 0)
        wait_for_start(plan->start_fd);
    if (plan->flags & PLAN_NO_NEW_PRIVILEGES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("cannot set no_new_privs", errno);
    if (plan->seccomp_count && seccomp_early)
        load_seccomp(plan);
    set_credentials(plan);
    if (plan->seccomp_count && !seccomp_early)
        load_seccomp(plan);
    if (syscall(SYS_close_range, 3 + plan->preserve, ~0U, 4U /* CLOSE_RANGE_CLOEXEC */) < 0)
        for (int fd = 3 + (int)plan->preserve; fd < 1024; fd++)
            fcntl(fd, F_SETFD, FD_CLOEXEC);
    if (plan->flags & PLAN_REAPER)
        reap_as_init(program, arguments + 3, environment);
    execute(program, arguments + 3, environment);
}
