/*
 * oci_launcher - the executable `minirun-oci`: four short verbs, and Python for all else.
 *
 * `state`, `start`, `kill` and `delete` change or read next to nothing: a byte into a fifo, a signal, some rmdir(2).
 * Engines call them several times per container, and Python alone takes longer to start than runc takes for the whole
 * verb. So what is usual about them is done here. Whatever is not, is left to Python:
 *
 *   - every other verb and flag, and everything that is wrong: Python finds the words for it
 *   - hooks, systemd's scopes, resctrl groups, mounts on the host, and containers that are still being created
 *
 * One rule keeps the two in step: this program decides before it changes anything, and each thing that it changes can
 * be found half done by Python, which then finishes it (a `delete` that was cut off is what `delete` mends).
 *
 * The Python side is minirun/runtime/lifecycle.py and state.py, which also write the state.json that is read here. A
 * test runs both and compares.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#include "become_python.h"
#include "oci_state.h"

#define DEFAULT_ROOT "/run/minirun/oci"           /* DEFAULT_ROOT of cli/oci/main.py */
#define KEEP_ATTRIBUTE "trusted.org.minirun.keep" /* KEEP_ATTRIBUTE of runtime/cgroup/files.py */

enum { KILL_TIMEOUT_MS = 10000 };

/* ---- the verbs -------------------------------------------------------------------------------------------------- */

static void print_object(struct slice object)
{
    struct slice name, value;
    const char *at = object.begin + 1;
    const char *separator = "\n";
    printf("{");
    while (next_member(&at, &name, &value) > 0) {
        printf("%s    %.*s: %.*s", separator, (int)name.length, name.begin, (int)value.length, value.begin);
        separator = ",\n";
    }
    printf("\n  }");
}

/* Prints runtime-spec's state and the fields that runc adds, as runtime/compat/state_output.py does. */
static outcome state_verb(const struct state *state, int directory)
{
    const char *status = status_of(state, directory);
    time_t seconds = (time_t)state->created;
    char date[32];
    strftime(date, sizeof date, "%Y-%m-%dT%H:%M:%S", gmtime(&seconds));
    printf("{\n  \"ociVersion\": \"%s\",\n  \"id\": %.*s,\n  \"pid\": %d,\n  \"status\": \"%s\",\n", OCI_VERSION,
           (int)state->id.length, state->id.begin, strcmp(status, "stopped") == 0 ? 0 : (int)state->pid, status);
    printf("  \"bundle\": %.*s,\n  \"rootfs\": %.*s,\n  \"created\": \"%s.%09dZ\",\n", (int)state->bundle.length,
           state->bundle.begin, (int)state->rootfs.length, state->rootfs.begin, date,
           (int)((state->created - (double)seconds) * 1e9));
    if (state->annotations.begin && !is(state->annotations, "{}")) {
        printf("  \"annotations\": ");
        print_object(state->annotations);
        printf(",\n");
    }
    printf("  \"owner\": \"\"");
    if (state->unit.length > 2)
        printf(",\n  \"systemd-scope\": %.*s", (int)state->unit.length, state->unit.begin);
    printf("\n}\n");
    return fflush(stdout) == 0 ? DONE : FOR_PYTHON;
}

static outcome start_verb(struct state *state, int directory)
{
    if (getenv("NOTIFY_SOCKET") || take_lock(directory) < 0 || read_state(state, directory) != DONE ||
        contains(state->hooks, "poststart") || strcmp(status_of(state, directory), "created") != 0)
        return FOR_PYTHON;
    int fifo = openat(directory, "exec.fifo", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
    if (fifo < 0 || write(fifo, "", 1) != 1)
        return FOR_PYTHON;
    unlinkat(directory, "exec.fifo", 0);
    return DONE;
}

/* Returns the number of a signal that callers name in their own ways, -1 for what Python has to look at. */
static int signal_number(const char *word)
{
    static const struct {
        const char *name;
        int number;
    } known[] = {{"KILL", SIGKILL}, {"TERM", SIGTERM}, {"HUP", SIGHUP},   {"INT", SIGINT},
                 {"QUIT", SIGQUIT}, {"USR1", SIGUSR1}, {"USR2", SIGUSR2}, {"WINCH", SIGWINCH}};
    char *end;
    long number = strtol(word, &end, 10);
    if (word[0] >= '1' && word[0] <= '9' && *end == '\0')
        return number <= SIGRTMAX ? (int)number : -1;
    if (strncmp(word, "SIG", 3) == 0)
        word += 3;
    for (size_t index = 0; index < sizeof known / sizeof *known; index++)
        if (strcmp(word, known[index].name) == 0)
            return known[index].number;
    return -1;
}

/* Says whether the container's PID namespace is another than ours, so that all of it ends with its first process. */
static int has_own_pids(pid_t pid)
{
    char path[64];
    struct stat own, its;
    snprintf(path, sizeof path, "/proc/%d/ns/pid", (int)pid);
    return stat("/proc/self/ns/pid", &own) == 0 && stat(path, &its) == 0 && own.st_ino != its.st_ino;
}

static int open_process(const struct state *state)
{
    int pidfd = (int)syscall(SYS_pidfd_open, state->pid, 0);
    if (pidfd >= 0 && !lives(state)) { /* the pid may have been given to another one until the call */
        close(pidfd);
        return -1;
    }
    return pidfd;
}

static outcome kill_verb(const struct state *state, const char *word)
{
    int number = signal_number(word);
    if (number < 0 || (number == SIGKILL && !has_own_pids(state->pid)))
        return FOR_PYTHON;
    int pidfd = open_process(state);
    return pidfd >= 0 && syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0) == 0 ? DONE : FOR_PYTHON;
}

/* Kills the first process, with which its PID namespace ends, and waits until it is dead. */
static outcome end_process(const struct state *state)
{
    char path[PATH_MAX + 32], text[32];
    if (!has_own_pids(state->pid))
        return FOR_PYTHON;
    if (*state->freezer) { /* frozen by some user of v1's freezer, a process cannot even die */
        snprintf(path, sizeof path, "%s/freezer.state", state->freezer);
        if (read_text(path, text, sizeof text) > 0 && strncmp(text, "THAWED", 6) != 0)
            return FOR_PYTHON;
    }
    int pidfd = open_process(state);
    if (pidfd < 0 || syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) < 0)
        return FOR_PYTHON;
    struct pollfd end = {.fd = pidfd, .events = POLLIN};
    return poll(&end, 1, KILL_TIMEOUT_MS) == 1 ? DONE : FOR_PYTHON;
}

static outcome remove_cgroups(const struct state *state)
{
    for (int number = 0; number < state->cgroup_count; number++) {
        const char *path = state->cgroups[number];
        if (!*path)
            continue;
        if (getxattr(path, KEEP_ATTRIBUTE, NULL, 0) >= 0)
            return FOR_PYTHON;
        if (rmdir(path) < 0 && errno != ENOENT)
            return FOR_PYTHON; /* busy: a process is left in it, or there are cgroups below */
        /* minirun's common parent goes with its last container. */
        const char *name = strrchr(path, '/');
        if (name && name - path >= 8 && strncmp(name - 8, "/minirun", 8) == 0) {
            char parent[PATH_MAX];
            snprintf(parent, sizeof parent, "%.*s", (int)(name - path), path);
            rmdir(parent);
        }
    }
    return DONE;
}

/* Removes the directory of the container's state, the lock last: nobody gets it while there is still something here. */
static outcome remove_state(const char *root, const char *id, int directory)
{
    char path[PATH_MAX];
    int copy = fcntl(directory, F_DUPFD_CLOEXEC, 3);
    DIR *listing = copy < 0 ? NULL : fdopendir(copy);
    if (!listing)
        return FOR_PYTHON;
    for (struct dirent *entry; (entry = readdir(listing));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 && strcmp(entry->d_name, "lock") != 0 &&
            unlinkat(directory, entry->d_name, 0) < 0)
            return FOR_PYTHON; /* a directory: that of a service manager's socket */
    snprintf(path, sizeof path, "%s/%s", root, id);
    return unlinkat(directory, "lock", 0) == 0 && rmdir(path) == 0 ? DONE : FOR_PYTHON;
}

static outcome delete_verb(struct state *state, const char *root, const char *id, int directory, int force)
{
    if (take_lock(directory) < 0 || read_state(state, directory) != DONE || contains(state->hooks, "poststop") ||
        state->unit.length > 2)
        return FOR_PYTHON;
    const char *status = status_of(state, directory);
    int alive = strcmp(status, "stopped") != 0;
    if (alive && strcmp(status, "created") != 0 && !force)
        return FOR_PYTHON;
    if (alive && end_process(state) != DONE)
        return FOR_PYTHON;
    if (remove_cgroups(state) != DONE)
        return FOR_PYTHON;
    return remove_state(root, id, directory);
}

/* ---- the command line ------------------------------------------------------------------------------------------- */

/* What this program understands of a command line. */
struct call {
    const char *root, *log, *verb, *id, *signal;
    int force;
};

/* Reads the flags that the shims of engines type. Whatever else there is, is for Python. */
static outcome read_words(int count, char **words, struct call *call)
{
    static const char *const with_value[] = {"root", "log", "log-format"};
    for (int at = 1; at < count; at++) {
        const char *word = words[at];
        if (word[0] != '-') {
            if (!call->verb)
                call->verb = word;
            else if (!call->id)
                call->id = word;
            else if (!call->signal && strcmp(call->verb, "kill") == 0)
                call->signal = word;
            else
                return FOR_PYTHON;
            continue;
        }
        const char *name = word + 1 + (word[1] == '-');
        if (call->verb) {
            if (strcmp(call->verb, "delete") != 0 || (strcmp(name, "force") != 0 && strcmp(name, "f") != 0))
                return FOR_PYTHON;
            call->force = 1;
            continue;
        }
        if (strcmp(name, "systemd-cgroup") == 0)
            continue; /* these verbs go by what `create` has noted */
        size_t length = strcspn(name, "=");
        size_t index = 0;
        while (index < 3 && (strlen(with_value[index]) != length || strncmp(name, with_value[index], length) != 0))
            index++;
        if (index == 3 || (!name[length] && at + 1 == count))
            return FOR_PYTHON;
        const char *value = name[length] ? name + length + 1 : words[++at];
        if (index == 0)
            call->root = value;
        else if (index == 1)
            call->log = value;
        else if (strcmp(value, "json") != 0 && strcmp(value, "text") != 0)
            return FOR_PYTHON;
    }
    return call->verb && call->id ? DONE : FOR_PYTHON;
}

/* Makes the log as Python does, for callers that look into it: it hears of failures only, and those are Python's. */
static outcome make_log(const char *path)
{
    if (strchr(path, ':')) /* journald: and others */
        return FOR_PYTHON;
    int file = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
    return file >= 0 && close(file) == 0 ? DONE : FOR_PYTHON;
}

/* Returns the directory for state: a user without root has one of their own, which Python finds. */
static const char *root_of(const struct call *call)
{
    if (call->root && *call->root)
        return call->root;
    return geteuid() == 0 && !getenv("XDG_RUNTIME_DIR") ? DEFAULT_ROOT : NULL;
}

static outcome carry_out(const struct call *call)
{
    static struct state state;
    char path[PATH_MAX];
    const char *root = root_of(call);
    if (!root || call->id[strspn(call->id, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+-.")] ||
        call->id[0] == '.' || call->id[0] == '\0' ||
        snprintf(path, sizeof path, "%s/%s", root, call->id) >= (int)sizeof path)
        return FOR_PYTHON;
    if (call->log && *call->log && make_log(call->log) != DONE)
        return FOR_PYTHON;
    int directory = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || read_state(&state, directory) != DONE)
        return FOR_PYTHON;
    if (strcmp(call->verb, "state") == 0)
        return state_verb(&state, directory);
    if (strcmp(call->verb, "start") == 0)
        return start_verb(&state, directory);
    if (strcmp(call->verb, "kill") == 0)
        return kill_verb(&state, call->signal ? call->signal : "TERM");
    if (strcmp(call->verb, "delete") == 0)
        return delete_verb(&state, root, call->id, directory, call->force);
    return FOR_PYTHON;
}

int main(int count, char **words)
{
    struct call call = {0};
    if (read_words(count, words, &call) == DONE && carry_out(&call) == DONE)
        return 0;
    return become_python(words);
}
