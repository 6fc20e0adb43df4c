/*
 * Telling what happens: events for --explain (see minirun/kernel/trace.py), and failures.
 */

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "exec_stub.h"

int channel_fd = -1;

static int trace_fd = -1;
static int outcome[2] = { -1, -1 }; /* a pipe that tells how the exec went */
static int told_over_channel;
static struct {
    const char *title, *topic, *why;
} step = { "become the user's command", "exec",
           "A small C program gives up privileges in an order that cannot be undone." };

/* Says where events go: to a datagram socket, or over the channel as messages of their own, or nowhere. */
void report_to(int fd, int over_channel)
{
    trace_fd = fd;
    told_over_channel = over_channel;
}

/* Says which step the next events belong to. */
void begin_step(const char *title, const char *topic, const char *why)
{
    step.title = title;
    step.topic = topic;
    step.why = why;
}

uint64_t now_ns(void)
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

/* Sends a message, with a descriptor if that is not negative. */
static int send_with(int socket, const char *message, size_t length, int descriptor)
{
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(sizeof(int))];
    } control = { 0 };
    struct iovec data = { .iov_base = (char *)message, .iov_len = length };
    struct msghdr packet = { .msg_iov = &data, .msg_iovlen = 1, .msg_control = &control,
                             .msg_controllen = sizeof control.space };
    if (descriptor < 0)
        return send(socket, message, length, MSG_NOSIGNAL) < 0 ? -1 : 0;
    control.header.cmsg_level = SOL_SOCKET;
    control.header.cmsg_type = SCM_RIGHTS;
    control.header.cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(&control.header), &descriptor, sizeof(int));
    return sendmsg(socket, &packet, MSG_NOSIGNAL) < 0 ? -1 : 0;
}

static void report_with(const char *operation, const char *arguments, const char *man, uint64_t started, int error,
                        int descriptor)
{
    char text[1024];
    int fd = told_over_channel ? channel_fd : trace_fd;
    if (fd < 0)
        return;
    int length = snprintf(text, sizeof text,
                          "%s{\"process\":\"%s\",\"pid\":%d,\"steps\":[[\"%s\",\"%s\",\"%s\"]],"
                          "\"operation\":\"%s\",\"arguments\":%s,\"result\":\"\",\"error\":\"%s\",\"started_ns\":%llu,"
                          "\"duration_ns\":%llu,\"man\":\"%s\",\"shell\":\"\"}%s",
                          told_over_channel ? "[\"told\"," : "", told_over_channel ? "exec" : "container", (int)getpid(),
                          step.title, step.topic, step.why, operation, arguments, errno_name(error),
                          (unsigned long long)started, (unsigned long long)(now_ns() - started), man,
                          told_over_channel ? "]" : "");
    if (length > 0 && length < (int)sizeof text && send_with(fd, text, (size_t)length, descriptor) < 0)
        report_to(-1, 0); /* the reader has gone */
}

/* Sends one operation as an event. `arguments` is JSON text and holds nothing that comes from outside. */
void report(const char *operation, const char *arguments, const char *man, uint64_t started, int error)
{
    report_with(operation, arguments, man, started, error, -1);
}

/* Makes ready for `report_exec`, before a filter may refuse to. */
void prepare_report_of_exec(void)
{
    if ((trace_fd >= 0 || told_over_channel) && pipe2(outcome, O_CLOEXEC) < 0)
        outcome[0] = outcome[1] = -1;
}

static void close_end(int *end)
{
    if (*end >= 0)
        close(*end);
    *end = -1;
}

/* Tells, once, of the exec that comes next. Its event goes with the end of a pipe that tells the printer how it went
 * (minirun/explain/printer.py): the exec closes the other end, and one that fails writes its error there. */
void report_exec(void)
{
    if (outcome[0] >= 0)
        report_with("execve", "{}", "execve(2)", now_ns(), 0, outcome[0]);
    close_end(&outcome[0]);
}

void report_failed_exec(int error)
{
    const char *name = errno_name(error);
    if (outcome[1] >= 0 && write(outcome[1], name, strlen(name)) < 0)
        report_to(-1, 0);
}

/* Lets go of the pipe, in a process that does not exec but whose child does. */
void leave_report_of_exec(void)
{
    close_end(&outcome[0]);
    close_end(&outcome[1]);
}

/* Returns an error's text with a small first letter, which is how callers know "permission denied". */
const char *reason_of(int error)
{
    static char reason[128];
    snprintf(reason, sizeof reason, "%s", strerror(error));
    reason[0] |= 0x20;
    return reason;
}

/* Returns what a signal means, "bad system call", as the error texts above. */
const char *signal_text(int number)
{
    static char text[64];
    snprintf(text, sizeof text, "%s", strsignal(number));
    text[0] |= 0x20;
    return text;
}

void complain(const char *what, const char *subject, int error)
{
    dprintf(STDERR_FILENO, "minirun: %s%s: %s\n", what, subject, reason_of(error));
}

/* A filter may refuse even exit_group(2): then an illegal instruction ends the process, which would turn in circles. */
_Noreturn void leave(int status)
{
    syscall(SYS_exit_group, status);
    __builtin_trap();
}

/* Tells minirun, as long as it listens (see minirun/runtime/create/protocol.py), and the user otherwise. */
_Noreturn void fail(const char *what, int error)
{
    char message[512];
    int length = snprintf(message, sizeof message,
                          "[\"failed\",{\"message\":\"%s: %s\",\"hint\":\"\",\"exit_code\":125}]", what,
                          strerror(error));
    if (channel_fd < 0 || send(channel_fd, message, (size_t)length, MSG_NOSIGNAL) < 0)
        complain(what, "", error);
    leave(125);
}

/* Sends a message with a descriptor to minirun, and closes it here. */
void send_descriptor(const char *message, int descriptor, const char *failure)
{
    if (send_with(channel_fd, message, strlen(message), descriptor) < 0)
        fail(failure, errno);
    close(descriptor);
}
