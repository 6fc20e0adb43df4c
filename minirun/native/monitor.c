/*
 * The monitor: one small process per container, parent of the container's first process.
 *
 * It takes the container's output to the log, serves clients that attach, records how the container ended, and has
 * everything taken down that was made for the container. It must outlive every terminal, so it is a session of its own
 * that no signal but SIGKILL ends; it must cost next to nothing, so it is C, linked statically, and waits in one epoll
 * loop.
 *
 *     starter (minirun run)                     monitor                               container
 *     ---------------------                     -------                               ---------
 *       control socket  <--- messages --->   clients[0]
 *       attach.sock     <--- messages --->   clients[1..64]
 *                                            stdin buffer   ------ pipe or pty ---->  fd 0
 *                                            log, clients   <----- pipes or pty ----  fd 1, 2
 *                                            waitpid        <----- SIGCHLD ---------  the first process ends
 *                                            exit file, 'x' to all clients
 *                                            clean-up command, unless the starter does it
 *
 * argv:
 *     monitor --id ID --pid PID --exit-file PATH
 *             [--log PATH [--log-max-size BYTES] [--log-max-file COUNT]]
 *             [--listen FD] [--control FD]
 *             [--stdin FD] [--stdout FD] [--stderr FD] | [--pty FD]
 *             [--stdin-once] [--memory-events PATH] [--keep FIRST-LAST]...
 *             [--cleanup COMMAND ARGUMENT...]
 * File descriptors are inherited and are 3 or higher; every other one is closed. --keep names those that are only held
 * open (the lock, reserved ports) until everything is unmade.
 *
 * Messages are SOCK_SEQPACKET records: one letter, then data.
 *
 *     from a client                                             to a client
 *     A options  what I want: letters of "ioel", or none        o data     the container's standard output or terminal
 *     i data     for the container's standard input, <= 16 KiB  e data     its standard error
 *     c          my standard input has ended                    l          the log has grown (option "l")
 *     w "R C"    the terminal has R rows, C columns             x json     the exit record; nothing follows but end of
 *     S          the container was started                                 file, once everything is unmade
 *     D          I detach: do not wait for me to clean up
 *     U          I offer to clean up                            u          the offer is taken: clean up now
 *     K          I have cleaned up
 *
 * A client that has not sent A gets nothing. S and D are the starter's, on the control socket, which cleans up unasked
 * unless it has detached. Of the others one that has offered is asked to, and may hang up instead. Hanging up on the
 * control socket before S means that the starter has died: the container, which still waits for the start, is killed.
 *
 * Back-pressure is Docker's: while one attached client does not take its output, nobody's is read, and so the container
 * waits; nothing is lost or reordered. A client that asked for no output never holds anybody up.
 *
 * The log is Docker's json-file: {"log":"text\n","stream":"stdout","time":"2024-01-02T03:04:05.123456789Z"} per line.
 * A line longer than 16 KiB is written in pieces, of which only the last one's text ends with \n.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#ifndef TIOCGPTPEER
#include <asm/ioctls.h>
#endif

enum {
    CLIENTS = 65,              /* the starter and 64 more */
    CHUNK = 32 << 10,          /* output is read and passed on in pieces of at most this */
    MESSAGE = 16 << 10,        /* the most input that one message may carry */
    INPUT = 64 << 10,          /* input that the container has not taken yet */
    LINE = 16 << 10,           /* Docker's limit for one piece of a line in the log */
    LOG = 6 * LINE + 256,      /* a piece of a line in the log: a byte becomes six characters at most */
    DRAIN_TIME = 2000,         /* ms: how long output may still come after the exit */
    PATIENCE = 10000,          /* ms: for a client that takes no output, or does not clean up, after the exit */
    TERMINAL = 128 << 10,      /* more than a terminal buffers; FIONREAD tells of 4 KiB of it only */
    KEPT_MAX = 64,             /* descriptors, and ranges of them, that the arguments name */
    TURN = 64,                 /* messages that one client gets handled before it is the others' turn */
};

/* A file descriptor in the epoll set: what is waited for, and what has come. It is in the set while `events` is not 0:
 * epoll reports a hang-up whether asked or not, which would wake us again and again where we do not want to read. */
struct source {
    int fd;
    uint32_t events, ready;
};

struct client {
    struct source source;
    bool attached;             /* has sent A */
    bool input, out, err, log; /* what it wants */
    bool owed;                 /* the current chunk is still to be sent to it */
    bool told;                 /* has got the exit record */
    bool offers, cleans;       /* has sent U; has got u */
    int64_t stalled_since;     /* ms; 0 while it takes what it gets */
};

/* One of the container's output streams, and its line that has not ended yet. */
struct output {
    struct source source;
    char type;
    const char *name;
    bool cut;                  /* the drain time is over: only `left` more bytes are taken */
    size_t left;
    bool continues;            /* pieces of this line are in the log already */
    struct timespec time;      /* of the line's first byte */
    size_t length;
    unsigned char line[LINE];
};

static struct {
    const char *id, *exit_file, *memory_events;
    char **cleanup;
    pid_t pid;
    bool stdin_once, pty;
} option;

static int epoll_fd = -1, memory_fd = -1, peer_fd = -1;
static struct source children = {.fd = -1}, listener = {.fd = -1};
static struct client clients[CLIENTS];
static struct client *const control = &clients[0];
static struct output outputs[2] = {
    {.source.fd = -1, .type = 'o', .name = "stdout"},
    {.source.fd = -1, .type = 'e', .name = "stderr"},
};

static struct {
    struct source source;
    bool ending;               /* to be closed once the container has taken everything */
    size_t start, length;
    char bytes[INPUT];
} input = {.source.fd = -1};

static struct {
    size_t length;
    char message[1 + CHUNK];
} chunk;

static struct {
    const char *path;
    int fd;
    int64_t size, max_size;
    int max_files;
    size_t length;
    char bytes[LOG];
} journal = {.fd = -1, .max_files = 1};

static struct {
    bool started, exited, recorded, detached, cleaned;
    int status;
    struct timespec time;
    int64_t drain_until, control_until; /* ms; 0 while not set */
    pid_t cleanup;
    char error[256];
    char record[2048];         /* an error of 255 bytes may become six times as many */
    size_t record_length;
} life;

static int64_t milliseconds(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Remembers the first thing that went wrong, for the exit record: there is nobody to tell at once. */
__attribute__((format(printf, 1, 2))) static void complain(const char *format, ...)
{
    va_list arguments;

    if (life.error[0])
        return;
    va_start(arguments, format);
    vsnprintf(life.error, sizeof life.error, format, arguments);
    va_end(arguments);
}

static void watch(struct source *source, uint32_t events)
{
    struct epoll_event event = {.events = events, .data.ptr = source};
    int change;

    if (source->fd < 0 || events == source->events)
        return;
    change = !source->events ? EPOLL_CTL_ADD : !events ? EPOLL_CTL_DEL : EPOLL_CTL_MOD;
    if (epoll_ctl(epoll_fd, change, source->fd, &event))
        complain("epoll_ctl: %s", strerror(errno));
    source->events = events;
}

static void close_source(struct source *source)
{
    watch(source, 0);
    if (source->fd >= 0)
        close(source->fd);
    source->fd = -1;
    source->ready = 0;
}

/* ---- JSON ------------------------------------------------------------------------------------------------------- */

/* The length of the UTF-8 character that `text` starts with, or 0 when it starts with none. */
static size_t character_length(const unsigned char *text, size_t length)
{
    unsigned char low = 0x80, high = 0xBF;
    size_t size = text[0] < 0x80 ? 1 : text[0] < 0xE0 ? 2 : text[0] < 0xF0 ? 3 : 4;

    if ((text[0] >= 0x80 && text[0] < 0xC2) || text[0] > 0xF4) /* no character begins so */
        return 0;
    if (size > length)
        return 0;
    if (text[0] == 0xE0)
        low = 0xA0; /* shorter forms exist */
    else if (text[0] == 0xED)
        high = 0x9F; /* surrogates are no characters */
    else if (text[0] == 0xF0)
        low = 0x90;
    else if (text[0] == 0xF4)
        high = 0x8F; /* above U+10FFFF */
    for (size_t i = 1; i < size; i++, low = 0x80, high = 0xBF)
        if (text[i] < low || text[i] > high)
            return 0;
    return size;
}

/* How many bytes at the end of `text` are the beginning of a character that is not complete. */
static size_t unfinished_length(const unsigned char *text, size_t length)
{
    for (size_t back = 1; back <= 3 && back <= length; back++) {
        unsigned char byte = text[length - back];

        if (byte >= 0xC0)
            return back < (byte < 0xE0 ? 2u : byte < 0xF0 ? 3u : 4u) ? back : 0;
        if (byte < 0x80)
            return 0;
    }
    return 0;
}

/* Writes `text` as the inside of a JSON string, as Go's encoder does: a byte that is not UTF-8 becomes U+FFFD, and what
 * HTML or JavaScript could stumble over is escaped. `to` has room for six times the length. Returns the end. */
static char *put_json(char *to, const unsigned char *text, size_t length)
{
    static const char hex[] = "0123456789abcdef";

    while (length) {
        size_t size = character_length(text, length);

        if (size == 0) {
            to = stpcpy(to, "\\ufffd");
            size = 1;
        } else if (size == 3 && text[0] == 0xE2 && text[1] == 0x80 && (text[2] == 0xA8 || text[2] == 0xA9)) {
            to = stpcpy(to, text[2] == 0xA8 ? "\\u2028" : "\\u2029");
        } else if (size > 1) {
            to = mempcpy(to, text, size);
        } else if (text[0] == '"' || text[0] == '\\') {
            *to++ = '\\';
            *to++ = (char)text[0];
        } else if (text[0] == '\n' || text[0] == '\r') {
            *to++ = '\\';
            *to++ = text[0] == '\n' ? 'n' : 'r';
        } else if (text[0] < 0x20 || text[0] == '<' || text[0] == '>' || text[0] == '&') {
            to = stpcpy(to, "\\u00");
            *to++ = hex[text[0] >> 4];
            *to++ = hex[text[0] & 15];
        } else {
            *to++ = (char)text[0];
        }
        text += size;
        length -= size;
    }
    return to;
}

/* ---- the log ---------------------------------------------------------------------------------------------------- */

static void open_log(int flags)
{
    char last;

    journal.fd = open(journal.path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC | flags, 0640);
    if (journal.fd < 0) {
        complain("cannot open the log %s: %s", journal.path, strerror(errno));
        return;
    }
    journal.size = lseek(journal.fd, 0, SEEK_END);
    /* A monitor that was killed may have left half a line: what follows must not be lost with it. */
    if (journal.size > 0 && pread(journal.fd, &last, 1, journal.size - 1) == 1 && last != '\n' &&
        write(journal.fd, "\n", 1) == 1)
        journal.size++;
}

/* Writes what has been gathered, all or nothing: a full disk costs lines, but neither half a line nor the container. */
static void flush_log(void)
{
    size_t done = 0;

    if (journal.fd < 0 && journal.length)
        open_log(0);
    while (journal.fd >= 0 && done < journal.length) {
        ssize_t count = write(journal.fd, journal.bytes + done, journal.length - done);

        if (count < 0 && errno == EINTR)
            continue;
        if (count <= 0) {
            complain("cannot write to the log %s: %s", journal.path, strerror(errno));
            if (ftruncate(journal.fd, journal.size))
                complain("cannot cut the log %s: %s", journal.path, strerror(errno));
            journal.length = 0;
            return;
        }
        done += (size_t)count;
    }
    journal.size += (int64_t)done;
    journal.length = 0;
}

/* Moves PATH to PATH.1, PATH.1 to PATH.2 and so on, and begins a new PATH. The oldest one is removed. */
static void rotate_log(void)
{
    char from[4096 + 16], to[4096 + 16];

    close(journal.fd);
    for (int number = journal.max_files - 1; number > 0; number--) {
        snprintf(from, sizeof from, number > 1 ? "%s.%d" : "%s", journal.path, number - 1);
        snprintf(to, sizeof to, "%s.%d", journal.path, number);
        rename(from, to); /* may be missing: there have not been as many yet */
    }
    open_log(O_TRUNC);
}

/* "2024-01-02T03:04:05.123456789Z"; the seconds are formatted only when they change. */
static char *put_time(char *to, const struct timespec *time)
{
    static time_t seconds = -1;
    static char text[96];

    if (time->tv_sec != seconds) {
        /* The proleptic Gregorian calendar in years that begin on March 1st, so that a leap day is a year's last. The
         * C library's gmtime would bring 150 KB of time zones into every container's monitor. */
        int day = (int)(time->tv_sec / 86400) + 719468, second = (int)(time->tv_sec % 86400);
        int era = day / 146097, in_era = day % 146097;
        int year = (in_era - in_era / 1460 + in_era / 36524 - in_era / 146096) / 365;
        int in_year = in_era - (365 * year + year / 4 - year / 100);
        int month = (5 * in_year + 2) / 153;

        seconds = time->tv_sec;
        snprintf(text, sizeof text, "%04d-%02d-%02dT%02d:%02d:%02d.", era * 400 + year + (month >= 10),
                 month < 10 ? month + 3 : month - 9, in_year - (153 * month + 2) / 5 + 1, second / 3600,
                 second / 60 % 60, second % 60);
    }
    to = stpcpy(to, text);
    for (long digit = 100000000; digit; digit /= 10)
        *to++ = (char)('0' + time->tv_nsec / digit % 10);
    *to++ = 'Z';
    return to;
}

/* Writes the stream's line, or the piece of it that is there, to the log. */
static void log_line(struct output *output, bool ended)
{
    size_t kept = ended || output->length < LINE ? 0 : unfinished_length(output->line, LINE);
    size_t length = output->length - kept;
    char *to;

    if (journal.length + 6 * length + 128 > sizeof journal.bytes)
        flush_log();
    if (journal.max_size && journal.size + (int64_t)journal.length >= journal.max_size) {
        flush_log();
        if (journal.fd >= 0)
            rotate_log();
    }
    if (!output->continues)
        clock_gettime(CLOCK_REALTIME, &output->time);
    to = stpcpy(journal.bytes + journal.length, "{\"log\":\"");
    to = put_json(to, output->line, length);
    to = stpcpy(to, ended ? "\\n\",\"stream\":\"" : "\",\"stream\":\"");
    to = stpcpy(to, output->name);
    to = stpcpy(to, "\",\"time\":\"");
    to = put_time(to, &output->time);
    to = stpcpy(to, "\"}\n");
    journal.length = (size_t)(to - journal.bytes);

    memmove(output->line, output->line + length, kept);
    output->length = kept;
    output->continues = !ended;
}

static void log_output(struct output *output, const char *bytes, size_t length)
{
    while (length) {
        const char *newline = memchr(bytes, '\n', length);
        size_t part = newline ? (size_t)(newline - bytes) : length;
        size_t room = LINE - output->length;
        size_t count = part < room ? part : room;

        memcpy(output->line + output->length, bytes, count);
        output->length += count;
        bytes += count;
        length -= count;
        if (output->length == LINE) {
            log_line(output, false);
        } else if (newline) {
            log_line(output, true);
            bytes++;
            length--;
        }
    }
    flush_log();
}

static void announce_log(void)
{
    for (struct client *client = clients; client < clients + CLIENTS; client++)
        if (client->source.fd >= 0 && client->log)
            send(client->source.fd, "l", 1, MSG_DONTWAIT | MSG_NOSIGNAL); /* when full, it has news to read anyway */
}

/* ---- clients ---------------------------------------------------------------------------------------------------- */

/* Sends one message. True: the client has it, or will never take one again. False: its socket is full. */
static bool send_to(struct client *client, const char *message, size_t length)
{
    if (send(client->source.fd, message, length, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
        client->stalled_since = 0;
        return true;
    }
    if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM || errno == EINTR) {
        if (!client->stalled_since)
            client->stalled_since = milliseconds();
        return false;
    }
    client->out = client->err = client->log = false; /* it has hung up; what it has sent before is still to be read */
    return true;
}

static bool output_is_owed(void)
{
    for (struct client *client = clients; client < clients + CLIENTS; client++)
        if (client->owed)
            return true;
    return false;
}

static bool outputs_have_ended(void)
{
    return outputs[0].source.fd < 0 && outputs[1].source.fd < 0 && !output_is_owed();
}

static bool input_has_room(void)
{
    return input.source.fd < 0 || sizeof input.bytes - input.length >= MESSAGE;
}

static void close_input(void)
{
    close_source(&input.source);
    input.length = 0;
}

/* Docker's StdinOnce: the first client that ends its input ends the container's. A terminal has no such end. */
static void end_input(void)
{
    if (!option.stdin_once || option.pty)
        return;
    input.ending = true;
    if (input.length == 0)
        close_input();
}

static void take_input(const char *bytes, size_t length)
{
    if (input.source.fd < 0 || input.ending)
        return;
    if (input.start + input.length + length > sizeof input.bytes) {
        memmove(input.bytes, input.bytes + input.start, input.length);
        input.start = 0;
    }
    memcpy(input.bytes + input.start + input.length, bytes, length);
    input.length += length;
}

static void resize_terminal(const char *text)
{
    char *rest;
    struct winsize size = {.ws_row = (unsigned short)strtoul(text, &rest, 10)};

    size.ws_col = (unsigned short)strtoul(rest, NULL, 10);
    if (option.pty)
        ioctl(outputs[0].source.fd, TIOCSWINSZ, &size);
}

static void obey(struct client *client, char *message, size_t length)
{
    message[length] = '\0';
    switch (message[0]) {
    case 'A':
        client->attached = true;
        client->input = strchr(message + 1, 'i') != NULL;
        client->out = strchr(message + 1, 'o') != NULL;
        client->err = strchr(message + 1, 'e') != NULL;
        client->log = strchr(message + 1, 'l') != NULL;
        break;
    case 'i':
        if (client->input)
            take_input(message + 1, length - 1);
        break;
    case 'c':
        if (client->input)
            end_input();
        client->input = false;
        break;
    case 'w':
        resize_terminal(message + 1);
        break;
    case 'S':
        if (client == control && !life.started) {
            life.started = true;
            if (!life.recorded)           /* a short run may have ended by now */
                unlink(option.exit_file); /* of the run before: it is not true any more */
        }
        break;
    case 'D':
        if (client == control)
            life.detached = true;
        client->input = client->out = client->err = false;
        client->owed = false;
        break;
    case 'U':
        client->offers = true;
        break;
    case 'K':
        if (client == control || client->cleans)
            life.cleaned = true;
        break;
    }
}

static void kill_container(void)
{
    if (!life.exited)
        kill(option.pid, SIGKILL);
}

static void hang_up(struct client *client)
{
    bool had_input = client->input;

    close_source(&client->source);
    *client = (struct client){.source.fd = -1};
    if (had_input)
        end_input();
    if (client == control && !life.started) {
        complain("the starter ended before it had started the container");
        kill_container();
    }
}

static void serve(struct client *client)
{
    static char message[1 + MESSAGE + 1];
    uint32_t ready = client->source.ready;

    if (client->owed && send_to(client, chunk.message, 1 + chunk.length))
        client->owed = false;
    if (!(ready & ~(uint32_t)EPOLLOUT))
        return;
    for (int turn = 0; turn < TURN && (!client->input || input_has_room()); turn++) {
        ssize_t count = recv(client->source.fd, message, sizeof message - 1, MSG_DONTWAIT | MSG_TRUNC);

        if (count < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (count < 0 && errno == ECONNRESET)
            continue; /* told once, when it closes with messages of ours unread; its own are still there */
        if (count <= 0 || count > (ssize_t)sizeof message - 1) {
            hang_up(client);
            return;
        }
        obey(client, message, (size_t)count);
    }
    if (client == control && !life.started && client->input && !input_has_room() && ready & (EPOLLHUP | EPOLLRDHUP))
        hang_up(client);
}

static struct client *free_client(void)
{
    for (struct client *client = control + 1; client < clients + CLIENTS; client++)
        if (client->source.fd < 0)
            return client;
    return NULL;
}

static void accept_clients(void)
{
    struct client *client;
    int fd;

    while (listener.fd >= 0 && (client = free_client())) {
        fd = accept4(listener.fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd < 0)
            return;
        client->source.fd = fd;
    }
}

/* Takes in the clients that have connected and asked for output. Called between reading output and passing it on, so
 * that a client that asked before the container wrote gets what it wrote, however late the monitor was woken. */
static void greet(void)
{
    accept_clients();
    for (struct client *client = clients; client < clients + CLIENTS; client++)
        if (client->source.fd >= 0 && !client->attached) {
            client->source.ready = EPOLLIN;
            serve(client);
            client->source.ready = 0;
        }
}

/* ---- the container's streams ------------------------------------------------------------------------------------ */

/* Keeps the terminal's other end open. Without it the terminal hangs up whenever no process of the container has it
 * open for a moment, as happens when a first process closes everything and opens /dev/console again. */
static bool hold_peer(void)
{
    if (peer_fd >= 0)
        close(peer_fd);
    peer_fd = ioctl(outputs[0].source.fd, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    return peer_fd >= 0;
}

static void close_output(struct output *output)
{
    close_source(&output->source);
    if (journal.path && output->length) {
        log_line(output, false);
        flush_log();
        announce_log();
    }
    output->length = 0;
}

/* Passes on what the container has written; only called when no client is owed anything. */
static void relay(struct output *output)
{
    size_t most = output->cut && output->left < CHUNK ? output->left : CHUNK;
    ssize_t count = read(output->source.fd, chunk.message + 1, most);

    if (count < 0 && (errno == EAGAIN || errno == EINTR) && !output->cut)
        return;
    if (count < 0 && errno == EIO && option.pty && !life.exited && hold_peer())
        return; /* a session of the container has ended and hung the terminal up; another may use it */
    if (count <= 0) {
        close_output(output);
        return;
    }
    if (journal.path) {
        log_output(output, chunk.message + 1, (size_t)count);
        announce_log();
    }
    greet();
    chunk.message[0] = output->type;
    chunk.length = (size_t)count;
    for (struct client *client = clients; client < clients + CLIENTS; client++)
        if (client->source.fd >= 0 && (output->type == 'o' ? client->out : client->err))
            client->owed = !send_to(client, chunk.message, 1 + chunk.length);
    if (output->cut && (output->left -= (size_t)count) == 0)
        close_output(output);
}

/* Takes what is in the pipes now and no more: a process outside the container still holds their other ends. */
static void cut_outputs(void)
{
    for (struct output *output = outputs; output < outputs + 2; output++) {
        int left = 0;

        if (output->source.fd < 0 || output->cut)
            continue;
        if (ioctl(output->source.fd, FIONREAD, &left) || left == 0) {
            close_output(output);
        } else {
            output->cut = true;
            output->left = option.pty ? TERMINAL : (size_t)left;
        }
    }
}

static void feed(void)
{
    ssize_t count = write(input.source.fd, input.bytes + input.start, input.length);

    if (count < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (count < 0 && option.pty) {
        input.length = 0; /* hung up: nobody reads this, though somebody may read what comes later */
        return;
    }
    if (count < 0) {
        close_input(); /* the container has closed its standard input */
        return;
    }
    input.start += (size_t)count;
    input.length -= (size_t)count;
    if (input.length == 0) {
        input.start = 0;
        if (input.ending)
            close_input();
    }
}

/* ---- the end ---------------------------------------------------------------------------------------------------- */

__attribute__((noreturn)) static void quit(int status)
{
    char byte;

    /* A socket closed with messages unread would give its client an error before the exit record. */
    for (struct client *client = clients; client < clients + CLIENTS; client++)
        while (client->source.fd >= 0 && recv(client->source.fd, &byte, 1, MSG_DONTWAIT) > 0)
            ;
    _exit(status);
}

static bool was_oom_killed(void)
{
    char text[1024], *line;
    ssize_t count = pread(memory_fd, text, sizeof text - 1, 0);

    if (count < 0) {
        complain("cannot read %s: %s", option.memory_events, strerror(errno));
        return false;
    }
    text[count] = '\0';
    for (line = strtok(text, "\n"); line; line = strtok(NULL, "\n"))
        if ((strncmp(line, "oom_kill ", 9) == 0 && atoll(line + 9) > 0) ||
            (strncmp(line, "oom_group_kill ", 15) == 0 && atoll(line + 15) > 0))
            return true;
    return false;
}

/* Writes the exit file: complete, or not there at all. The temporary file may be there already, with room reserved in it
 * for a disk that is full by now. */
static void record_exit(void)
{
    char temporary[4096 + 8], *to = life.record;
    bool oom_killed = memory_fd >= 0 && was_oom_killed();
    int number = WIFSIGNALED(life.status) ? WTERMSIG(life.status) : 0;
    int fd;

    life.recorded = true;
    *to++ = 'x';
    to += sprintf(to, "{\"code\": %d, \"signal\": %d, \"oom_killed\": %s, \"finished_at\": %lld.%09ld, \"error\": \"",
                  number ? 128 + number : WEXITSTATUS(life.status), number, oom_killed ? "true" : "false",
                  (long long)life.time.tv_sec, life.time.tv_nsec);
    to = put_json(to, (unsigned char *)life.error, strlen(life.error));
    to = stpcpy(to, "\"}");
    life.record_length = (size_t)(to - life.record);

    snprintf(temporary, sizeof temporary, "%s.new", option.exit_file);
    fd = open(temporary, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0)
        return; /* no way left to tell: the clients still get the record */
    if (write(fd, life.record + 1, life.record_length - 1) == (ssize_t)life.record_length - 1 &&
        ftruncate(fd, (off_t)life.record_length - 1) == 0)
        rename(temporary, option.exit_file);
    else
        unlink(temporary);
    close(fd);
}

static void start_cleanup(void)
{
    sigset_t none;

    life.cleanup = fork();
    if (life.cleanup == 0) {
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        execvp(option.cleanup[0], option.cleanup);
        _exit(127);
    }
    if (life.cleanup < 0)
        quit(1); /* the next command finds the lock free and cleans up */
}

static void reap(void)
{
    struct signalfd_siginfo information;
    int status;
    pid_t pid;

    while (read(children.fd, &information, sizeof information) > 0)
        ;
    while ((pid = waitpid(-1, &status, WNOHANG | __WALL)) > 0) {
        if (pid == life.cleanup)
            quit(0);
        if (pid != option.pid || life.exited)
            continue;
        life.exited = true;
        life.status = status;
        life.drain_until = milliseconds() + DRAIN_TIME;
        clock_gettime(CLOCK_REALTIME, &life.time);
        close_input();
        if (peer_fd >= 0)
            close(peer_fd);
        peer_fd = -1;
    }
}

static int64_t sooner(int64_t a, int64_t b)
{
    return a < 0 || b < a ? b : a;
}

/* Tells every client of the exit, after the last of the output that it asked for. Returns how many ms to wait for the
 * slow ones; 0 when all have been told, -1 when only the client can say how long. */
static int64_t tell_clients(int64_t now)
{
    bool waiting = false;
    int64_t wait = -1;

    for (struct client *client = clients; client < clients + CLIENTS; client++) {
        bool follows = client->out || client->err || client->log;

        if (client->source.fd < 0 || !client->attached || client->told)
            continue;
        if ((!follows || outputs_have_ended()) && send_to(client, life.record, life.record_length)) {
            client->told = true;
        } else if (client != control && client->stalled_since && client->stalled_since + PATIENCE <= now) {
            hang_up(client);
            waiting = true;
            wait = 1; /* others may have waited for it */
        } else {
            waiting = true;
            if (client != control && client->stalled_since)
                wait = sooner(wait, client->stalled_since + PATIENCE - now);
        }
    }
    return waiting ? wait : 0;
}

/* Says whether a client is cleaning up; asks the next one that has offered it if not. */
static bool somebody_cleans(void)
{
    for (struct client *client = control + 1; client < clients + CLIENTS; client++)
        if (client->source.fd >= 0 && client->cleans)
            return true;
    for (struct client *client = control + 1; client < clients + CLIENTS; client++)
        if (client->source.fd >= 0 && client->offers) {
            client->offers = false;
            client->cleans = send(client->source.fd, "u", 1, MSG_DONTWAIT | MSG_NOSIGNAL) == 1;
            if (client->cleans)
                return true;
        }
    return false;
}

/* Takes the container's end as far as it goes now: drained, recorded, told, unmade. Returns how many ms to wait at most
 * before it is called again, -1 for as long as nothing happens. */
static int64_t advance(void)
{
    int64_t now = milliseconds(), wait;

    if (!life.exited)
        return -1;
    if (!life.recorded) {
        if (!outputs_have_ended() && now < life.drain_until)
            return life.drain_until - now;
        cut_outputs();
        record_exit();
    }
    wait = tell_clients(now);
    if (wait != 0)
        return wait;
    if (life.cleanup)
        return -1;
    if (control->source.fd >= 0 && !life.detached && !life.cleaned) {
        if (!life.control_until)
            life.control_until = now + PATIENCE;
        if (now < life.control_until)
            return life.control_until - now;
    }
    if (life.cleaned || !option.cleanup)
        quit(0);
    if (somebody_cleans())
        return -1;
    start_cleanup();
    return -1;
}

/* ---- the loop --------------------------------------------------------------------------------------------------- */

static void choose_events(void)
{
    bool owed = output_is_owed();

    watch(&listener, free_client() ? EPOLLIN : 0);
    watch(&input.source, input.length ? EPOLLOUT : 0);
    for (struct output *output = outputs; output < outputs + 2; output++)
        watch(&output->source, owed ? 0 : EPOLLIN);
    for (struct client *client = clients; client < clients + CLIENTS; client++) {
        bool full = client->owed || (life.recorded && client->stalled_since && !client->told);
        bool deaf = client->input && !input_has_room();
        uint32_t events = (deaf ? 0 : EPOLLIN) | (full ? EPOLLOUT : 0);

        /* The starter's death must be seen although nothing can be read from it. */
        watch(&client->source, client == control && !life.started ? events | EPOLLRDHUP : events);
    }
}

static void wait_for_events(int64_t wait)
{
    struct epoll_event events[CLIENTS + 5];
    int count = epoll_wait(epoll_fd, events, CLIENTS + 5, (int)wait);

    for (int i = 0; i < count; i++)
        ((struct source *)events[i].data.ptr)->ready = events[i].events;
}

static bool take(struct source *source)
{
    bool ready = source->fd >= 0 && source->ready;

    source->ready = 0;
    return ready;
}

__attribute__((noreturn)) static void run(void)
{
    for (;;) {
        int64_t wait = advance();

        choose_events();
        wait_for_events(wait);
        for (struct client *client = clients; client < clients + CLIENTS; client++)
            if (client->source.fd >= 0 && client->source.ready) {
                serve(client);
                client->source.ready = 0;
            }
        for (struct output *output = outputs; output < outputs + 2; output++)
            if (take(&output->source) && !output_is_owed())
                relay(output);
        if (take(&input.source) && input.length)
            feed();
        if (take(&children))
            reap();
        if (take(&listener))
            accept_clients();
    }
}

/* ---- the beginning ---------------------------------------------------------------------------------------------- */

/* Ends a container that cannot be monitored, and says why in its exit file. */
__attribute__((noreturn)) static void fail(void)
{
    if (option.pid > 0) {
        kill_container();
        waitpid(option.pid, &life.status, __WALL);
    }
    clock_gettime(CLOCK_REALTIME, &life.time);
    if (option.exit_file)
        record_exit();
    if (option.cleanup) {
        start_cleanup();
        waitpid(life.cleanup, NULL, 0);
    }
    quit(1);
}

/* Descriptors that stay open, from `first` to `last`. */
struct range { int first, last; };

static int by_number(const void *a, const void *b)
{
    return ((const struct range *)a)->first - ((const struct range *)b)->first;
}

/* Closes all inherited descriptors that were not named: none may keep a pipe or a lock alive. */
static void close_others(struct range *kept, size_t count)
{
    unsigned first = 0;

    qsort(kept, count, sizeof *kept, by_number);
    for (size_t i = 0; i < count; i++) {
        if ((unsigned)kept[i].first > first)
            syscall(SYS_close_range, first, (unsigned)kept[i].first - 1, 0);
        first = (unsigned)kept[i].last + 1;
    }
    syscall(SYS_close_range, first, ~0U, 0);
    for (int fd = open("/dev/null", O_RDWR); fd >= 0 && fd < 2; fd = dup(fd))
        ;
}

/* Reads "FD" or "FIRST-LAST" and returns the first, or -1 if that is not so or not open. */
static int descriptor(const char *name, const char *value, struct range *kept, size_t *count)
{
    char *end;
    long first = strtol(value, &end, 10), last = first;
    bool wrong = first < 3 || *count == KEPT_MAX;

    if (*end == '-')
        last = strtol(end + 1, &end, 10);
    for (long fd = first; fd <= last && !wrong; fd++)
        wrong = fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    if (*end || wrong) {
        complain("monitor: %s %s is no file descriptor above 2", name, value);
        return -1;
    }
    kept[(*count)++] = (struct range){(int)first, (int)last};
    return (int)first;
}

static void parse(char **argv)
{
    struct range kept[KEPT_MAX];
    size_t count = 0;

    for (char **argument = argv + 1; *argument; argument++) {
        const char *name = *argument, *value;

        if (strcmp(name, "--stdin-once") == 0) {
            option.stdin_once = true;
            continue;
        }
        value = *++argument;
        if (!value) {
            complain("monitor: %s lacks a value", name);
            break;
        }
        if (strcmp(name, "--cleanup") == 0) {
            option.cleanup = argument;
            break;
        }
        if (strcmp(name, "--id") == 0)
            option.id = value;
        else if (strcmp(name, "--pid") == 0)
            option.pid = atoi(value);
        else if (strcmp(name, "--exit-file") == 0)
            option.exit_file = value;
        else if (strcmp(name, "--log") == 0)
            journal.path = value;
        else if (strcmp(name, "--log-max-size") == 0)
            journal.max_size = atoll(value);
        else if (strcmp(name, "--log-max-file") == 0)
            journal.max_files = atoi(value);
        else if (strcmp(name, "--memory-events") == 0)
            option.memory_events = value;
        else if (strcmp(name, "--listen") == 0)
            listener.fd = descriptor(name, value, kept, &count);
        else if (strcmp(name, "--control") == 0)
            control->source.fd = descriptor(name, value, kept, &count);
        else if (strcmp(name, "--stdin") == 0)
            input.source.fd = descriptor(name, value, kept, &count);
        else if (strcmp(name, "--stdout") == 0)
            outputs[0].source.fd = descriptor(name, value, kept, &count);
        else if (strcmp(name, "--stderr") == 0)
            outputs[1].source.fd = descriptor(name, value, kept, &count);
        else if (strcmp(name, "--pty") == 0)
            option.pty = (outputs[0].source.fd = descriptor(name, value, kept, &count)) >= 0;
        else if (strcmp(name, "--keep") == 0)
            descriptor(name, value, kept, &count);
        else
            complain("monitor: unknown option %s", name);
    }
    close_others(kept, count);
    if (!option.id || option.pid <= 0 || !option.exit_file)
        complain("monitor: --id, --pid and --exit-file must be given");
}

static void prepare(void)
{
    sigset_t all, child;

    /* Blocked, not ignored: the clean-up command must not inherit ignored signals. */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    signal(SIGCHLD, SIG_DFL);
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    children.fd = signalfd(-1, &child, SFD_CLOEXEC | SFD_NONBLOCK);
    epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    if (children.fd < 0 || epoll_fd < 0)
        complain("signalfd, epoll_create1: %s", strerror(errno));

    if (option.pty && (input.source.fd = fcntl(outputs[0].source.fd, F_DUPFD_CLOEXEC, 3)) >= 0)
        hold_peer();
    for (struct output *output = outputs; output < outputs + 2; output++)
        if (output->source.fd >= 0)
            fcntl(output->source.fd, F_SETFL, O_NONBLOCK);
    if (input.source.fd >= 0)
        fcntl(input.source.fd, F_SETFL, O_NONBLOCK);
    if (listener.fd >= 0)
        fcntl(listener.fd, F_SETFL, O_NONBLOCK);

    life.started = control->source.fd < 0;
    watch(&children, EPOLLIN);
}

int main(int argc, char **argv)
{
    (void)argc;
    for (struct client *client = clients; client < clients + CLIENTS; client++)
        client->source.fd = -1;
    parse(argv);
    prepare();
    if (life.error[0])
        fail();
    if (journal.path)
        open_log(0);
    if (option.memory_events && (memory_fd = open(option.memory_events, O_RDONLY | O_CLOEXEC)) < 0)
        complain("cannot open %s: %s", option.memory_events, strerror(errno));
    reap(); /* it may have ended already */
    run();
}
