/*
 * How a process comes into a PID namespace that exists, as `exec` needs it.
 *
 * Other processes in it may have CAP_SYS_PTRACE. From its first instruction on they can stop the new process, read and
 * write its memory, take its descriptors, and go through /proc/PID/root, cwd and exe. So it must hold only what is the
 * container's already. Python, which has entered all other namespaces, stays outside (setns(2) with CLONE_NEWPID
 * changes only where children go), and executes this program, which forgets what Python knew. It gives up its rights,
 * and then makes the command's process as a copy of itself, and as its own sibling (CLONE_PARENT), whose parent is
 * minirun.
 *
 * minirun must not learn the pid from the new process, which cannot be trusted any more. The kernel writes it into a
 * page that the new process does not get.
 */

#include <errno.h>
#include <linux/sched.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exec_stub.h"

/* Waits until minirun has set what is set from outside: priorities, CPUs. */
static void wait_at_gate(const struct plan *plan)
{
    char byte;
    ssize_t count;
    do
        count = read(plan->gate_fd, &byte, 1);
    while (count < 0 && errno == EINTR);
    if (count != 1)
        leave(125); /* minirun has gone */
    close(plan->gate_fd);
}

/* Makes the command's process. Returns in that process only; this one ends. */
void be_born(const struct plan *plan)
{
    pid_t *page = mmap(NULL, sizeof *page, PROT_READ | PROT_WRITE, MAP_SHARED, plan->birth_fd, 0);
    if (page == MAP_FAILED || madvise(page, sizeof *page, MADV_DONTFORK) < 0)
        fail("cannot map the page for the new process's pid", errno);
    close(plan->birth_fd);

    begin_step("make a process in the container's PID namespace", "namespaces",
               "It is a copy of this small program, in which there is nothing of the host: it can be traced from inside.");
    struct clone_args arguments = { .flags = CLONE_PARENT | CLONE_PARENT_SETTID,
                                    .parent_tid = (uint64_t)(uintptr_t)page };
    uint64_t started = now_ns();
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    if (pid < 0)
        fail(errno == EAGAIN ? "cannot make a process in the container: its process limit must have room for two more for a moment"
                             : "cannot make a process in the container", errno);
    if (pid > 0) {
        report("clone3", "{\"flags\":\"CLONE_PARENT\"}", "clone3(2)", started, 0);
        leave(0);
    }
    started = now_ns();
    if (setsid() < 0)
        fail("cannot begin a session", errno);
    report("new_session", "{}", "setsid(2)", started, 0);
    if (plan->flags & PLAN_TERMINAL) {
        begin_step("take the pseudo-terminal as controlling terminal", "terminal",
                   "Ctrl-C then reaches the foreground job.");
        started = now_ns();
        if (ioctl(STDIN_FILENO, TIOCSCTTY, 0) < 0)
            fail("cannot take the pseudo-terminal as controlling terminal", errno);
        report("ioctl", "{\"request\":\"TIOCSCTTY\"}", "TIOCSCTTY(2const)", started, 0);
    }
    if (plan->gate_fd >= 0)
        wait_at_gate(plan);
    begin_step("become the user's command", "exec", "The filter that stays on it is loaded, and the last right given up.");
}
