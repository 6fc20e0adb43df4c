/*
 * exec_stub - the last step before the user's command.
 *
 * Python has built the container's world by now and executes this program from a sealed copy in memory. It gives up
 * privileges, waits to be started and becomes the user's command. It is C for three reasons: a created container waits
 * in well under 1 MB; nothing of the host's Python can be reached through /proc/self/exe (CVE-2019-5736); and a seccomp
 * filter that refuses most system calls is loaded when only a handful of them is still needed.
 *
 *   exec_stub PLAN_FD PROGRAM ARG0 [ARG...]      the environment is the command's own
 *
 * The plan is `struct plan` below, then the supplementary groups, the seccomp program, a `struct hook` per hook and
 * the strings. Python packs it (minirun/runtime/create/init_plan.py): change both together.
 *
 * The order matters:
 *   1. hide        nobody in the container may trace this process while it has rights (CVE-2016-9962), and there is no
 *                  descriptor but those meant for the command and our own (CVE-2024-21626): closed now, because a
 *                  filter may refuse to later, and so that a waiting container holds nothing of its creator's
 *   2. label       for the next exec: AppArmor's profile or SELinux's context
 *   3. no_new_privs  first, because it lets an unprivileged process load a filter
 *   4. seccomp     now if no_new_privs is off: loading then needs CAP_SYS_ADMIN, which step 5 takes away;
 *                  after step 5 otherwise, so that the filter need not allow what step 5 does
 *   5. credentials bounding set, groups, gid, uid, capability sets, ambient set (credentials.c)
 *   -  birth       only of a process that joins a PID namespace (birth.c), which loads its filter after this, and for
 *                  that keeps CAP_SYS_ADMIN until then if no_new_privs is off
 *   6. close       the channel to minirun, which has heard of every failure up to here and now believes that all is
 *                  well
 *   7. wait        the start fifo gives one byte when `start` is called
 *   8. hooks       startContainer, as the command's user
 *   9. exec        or, with --init, fork first and stay as the PID 1 that reaps orphans
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
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
#include "exec_failure.h"

#include "exec_stub.h"

/* An ignored signal stays ignored over exec, and Python ignores some: the command starts with every default. */
static void reset_signals(void)
{
    sigset_t none;
    for (int number = 1; number < NSIG; number++)
        signal(number, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
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
    size_t needed = sizeof *plan + plan->group_count * sizeof(gid_t) + plan->seccomp_count * sizeof(struct sock_filter) +
                    plan->hook_count * sizeof(struct hook) + plan->text_size;
    if ((size_t)status.st_size < needed)
        fail("the plan is cut off", EINVAL);
    return plan;
}

static struct parts parts_of(const struct plan *plan)
{
    struct parts parts = { .groups = (const gid_t *)(plan + 1) };
    parts.filter = (struct sock_filter *)(parts.groups + plan->group_count);
    parts.hooks = (const struct hook *)(parts.filter + plan->seccomp_count);
    parts.text = (char *)(parts.hooks + plan->hook_count);
    return parts;
}

/* Closes every descriptor but those that the command inherits, and minirun's own, which the exec closes: they may also
 * be below those inherited. */
static void close_others(const struct plan *plan, int plan_fd)
{
    const int own[] = { plan->channel_fd, plan->start_fd, plan->trace_fd, plan->attribute_fd,
                        plan->state_fd,   plan->birth_fd, plan->gate_fd };
    const size_t count = sizeof own / sizeof *own;
    close(plan_fd);
    for (size_t index = 0; index < count; index++)
        if (own[index] >= 0)
            fcntl(own[index], F_SETFD, FD_CLOEXEC);
    for (unsigned int first = 3 + plan->preserve, next = 0; next != ~0U; first = next + 1) {
        next = ~0U; /* the lowest of our own from `first` on */
        for (size_t index = 0; index < count; index++)
            if (own[index] >= 0 && (unsigned int)own[index] >= first && (unsigned int)own[index] < next)
                next = (unsigned int)own[index];
        if (first < next && syscall(SYS_close_range, first, next == ~0U ? next : next - 1, 0) < 0)
            for (unsigned int fd = first; fd < next && fd < 1024; fd++) /* a filter that is there already refuses it */
                close((int)fd);
    }
}

/* Writes the label that the kernel applies at the next exec; takes both strings off the text. */
static void set_label(const struct plan *plan, struct parts *parts)
{
    const char *file = parts->text, *label = file + strlen(file) + 1;
    parts->text += strlen(file) + 1 + strlen(label) + 1;
    if (plan->attribute_fd < 0)
        return;
    uint64_t started = now_ns();
    int attribute = openat(plan->attribute_fd, file, O_WRONLY | O_CLOEXEC);
    if (attribute < 0 || write(attribute, label, strlen(label)) < 0)
        fail("cannot set the security label of the command", errno);
    close(attribute);
    close(plan->attribute_fd);
    report("set_label", "{}", "proc_pid_attr(5)", started, 0);
}

static void end_by_signal(int number)
{
    _exit(128 + number);
}

/* The kernel spares the PID 1 of a namespace every signal that it does not catch. The command may want that, but a
 * process that only waits to become the command can be ended like any other. */
static void wait_for_start(int fifo)
{
    static const int ending[] = { SIGHUP, SIGINT, SIGQUIT, SIGABRT, SIGTERM };
    const unsigned int ways = sizeof ending / sizeof *ending;
    for (unsigned int index = 0; index < ways; index++)
        signal(ending[index], end_by_signal);
    char byte;
    ssize_t count;
    uint64_t started = now_ns();
    do
        count = read(fifo, &byte, 1);
    while (count < 0 && errno == EINTR);
    if (count != 1)
        fail("the container was not started", errno);
    report("wait_for_start", "{}", "fifo(7)", started, 0);
    for (unsigned int index = 0; index < ways; index++)
        signal(ending[index], SIG_DFL);
    close(fifo);
}

/* Ends the conversation with minirun. */
static void say_ready(void)
{
    static const char message[] = "[\"ready\",{}]";
    if (channel_fd >= 0 && send(channel_fd, message, sizeof message - 1, MSG_NOSIGNAL) < 0)
        fail("minirun has gone", errno);
    close(channel_fd);
    channel_fd = -1;
}

static void load_seccomp(const struct plan *plan, const struct parts *parts)
{
    struct sock_fprog program = { .len = (unsigned short)plan->seccomp_count, .filter = parts->filter };
    char arguments[64];
    uint64_t started = now_ns();
    long result = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, plan->seccomp_flags, &program);
    if (result < 0)
        fail("cannot load the seccomp filter", errno);
    if (plan->seccomp_flags & SECCOMP_FILTER_FLAG_NEW_LISTENER)
        send_descriptor("[\"listener\",{}]", (int)result, "cannot hand over the seccomp listener");
    snprintf(arguments, sizeof arguments, "{\"instructions\":\"%u\"}", plan->seccomp_count);
    report("seccomp", arguments, "seccomp(2)", started, 0);
}

/* ---- startContainer hooks ------------------------------------------------------------------------------------ */

static char *next_string(char **text)
{
    char *string = *text;
    *text += strlen(string) + 1;
    return string;
}

/* Waits for a hook's end; returns its wait status, or -1 when it was killed because its time was up. */
static int wait_for_hook(pid_t pid, uint32_t timeout)
{
    int status, killed = 0;
    if (timeout) {
        struct pollfd process = { .fd = (int)syscall(SYS_pidfd_open, pid, 0), .events = POLLIN };
        int ready;
        do
            ready = poll(&process, 1, (int)timeout * 1000);
        while (ready < 0 && errno == EINTR);
        killed = ready == 0 && kill(pid, SIGKILL) == 0;
        close(process.fd);
    }
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return killed ? -1 : status;
}

/* Runs one hook: the state is its standard input, what it says goes to standard error. Without an environment of its
 * own it has the command's. */
static void run_hook(unsigned int number, const struct hook *hook, char **text, int state_fd, char **own_environment)
{
    char **arguments = calloc(hook->argument_count + hook->variable_count + 2, sizeof *arguments);
    if (arguments == NULL)
        fail("cannot run a startContainer hook", ENOMEM);
    char *path = next_string(text), **environment = arguments + hook->argument_count + 1;
    for (uint32_t index = 0; index < hook->argument_count; index++)
        arguments[index] = next_string(text);
    for (uint32_t index = 0; index < hook->variable_count; index++)
        environment[index] = next_string(text);

    uint64_t started = now_ns();
    pid_t pid = fork();
    if (pid < 0)
        fail("cannot fork for a startContainer hook", errno);
    if (pid == 0) {
        lseek(state_fd, 0, SEEK_SET);
        dup2(state_fd, STDIN_FILENO);
        dup2(STDERR_FILENO, STDOUT_FILENO);
        execve(path, arguments, hook->variable_count ? environment : own_environment);
        complain("cannot execute the hook ", path, errno);
        _exit(127);
    }
    int status = wait_for_hook(pid, hook->timeout);
    report("run_hook", "{}", "execve(2)", started, 0);
    free(arguments);
    if (status == 0)
        return;
    dprintf(STDERR_FILENO, "minirun: error running startContainer hook #%u: ", number);
    if (status < 0)
        dprintf(STDERR_FILENO, "%s did not end within %u seconds\n", path, hook->timeout);
    else if (WIFSIGNALED(status))
        dprintf(STDERR_FILENO, "%s: signal %d (%s)\n", path, WTERMSIG(status), signal_text(WTERMSIG(status)));
    else
        dprintf(STDERR_FILENO, "%s: startContainer hook failed with exit code %d\n", path, WEXITSTATUS(status));
    _exit(1);
}

/* ---- the command --------------------------------------------------------------------------------------------- */

static void execute(const char *program, char **arguments, char **environment)
{
    report_exec();
    execve(program, arguments, environment);
    int error = errno;
    report_failed_exec(error);
    tell_exec_failure(program, error, reason_of(error));
    leave(error == ENOENT ? 127 : 126);
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
    prctl(PR_SET_NAME, "minirun-init", 0, 0, 0);
    uint64_t started = now_ns();
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
    leave_report_of_exec();
    report("fork", "{}", "fork(2)", started, 0);
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
        dprintf(STDERR_FILENO, "minirun: exec_stub is started by minirun only\n");
        return 125;
    }
    prctl(PR_SET_DUMPABLE, 0, 0, 0, 0); /* until the command's exec */
    int plan_fd = atoi(arguments[1]);
    const struct plan *plan = read_plan(plan_fd);
    struct parts parts = parts_of(plan);
    const char *program = arguments[2];
    int joins = plan->birth_fd >= 0;
    uint64_t kept = joins ? needed_for_filter(plan) : 0;
    int seccomp_early = !joins && !(plan->flags & PLAN_NO_NEW_PRIVILEGES);
    channel_fd = plan->channel_fd;
    report_to(plan->trace_fd, plan->flags & PLAN_TELL);

    close_others(plan, plan_fd);
    prepare_report_of_exec();
    reset_signals();
    set_label(plan, &parts);
    uint64_t started = now_ns();
    if (plan->flags & PLAN_NO_NEW_PRIVILEGES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        fail("cannot set no_new_privs", errno);
    if (plan->flags & PLAN_NO_NEW_PRIVILEGES)
        report("set_no_new_privs", "{}", "prctl(2)", started, 0);
    if (plan->seccomp_count && seccomp_early)
        load_seccomp(plan, &parts);
    set_credentials(plan, parts.groups, kept);
    if (joins)
        be_born(plan);
    if (plan->seccomp_count && !seccomp_early)
        load_seccomp(plan, &parts);
    if (kept & ~plan->effective)
        set_capabilities(plan, 0);
    if (joins)
        report_exec(); /* over the channel, which closes next */
    say_ready();
    if (plan->start_fd >= 0)
        wait_for_start(plan->start_fd);
    for (uint32_t number = 0; number < plan->hook_count; number++)
        run_hook(number, &parts.hooks[number], &parts.text, plan->state_fd, environment);
    if (plan->flags & PLAN_REAPER)
        reap_as_init(program, arguments + 3, environment);
    execute(program, arguments + 3, environment);
}
