/*
 * What `minirun-oci` remembers of a container (state.json, which minirun/runtime/state.py writes) and what the kernel says
 * of it now: the part of oci_launcher.c that only reads.
 *
 * The JSON is that of one known writer. What this reader does not expect is no error: FOR_PYTHON says that Python, which
 * reads all of JSON, has to look at it.
 */

#ifndef MINIRUN_OCI_STATE_H
#define MINIRUN_OCI_STATE_H

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

enum { MOST_CGROUPS = 32, LARGEST_STATE = 64 * 1024 };

/* Whether a call is carried out here. Functions return it up to `main`, and leave locks and descriptors as they are:
 * all are close-on-exec. */
typedef enum { DONE, FOR_PYTHON } outcome;

/* ---- state.json ----------------------------------------------------------------------------------------------- */

/* A piece of the JSON text, as it is written there: strings with their quotes and escapes. */
struct slice {
    const char *begin;
    size_t length;
};

struct state {
    char text[LARGEST_STATE];
    struct slice id, bundle, annotations, rootfs, unit, hooks;
    double created;
    pid_t pid;
    char pid_start_time[32];
    char cgroups[MOST_CGROUPS][PATH_MAX]; /* v2's first, or "" */
    int cgroup_count;
    char freezer[PATH_MAX]; /* the container's cgroup in the v1 hierarchy of the freezer, or "" */
};

static const char *skip_space(const char *at)
{
    while (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')
        at++;
    return at;
}

/* Returns the end of the JSON value that begins at `at`, NULL if the text ends before it. */
static const char *end_of_value(const char *at)
{
    int depth = 0;
    do {
        switch (*at) {
        case '"':
            for (at++; *at != '"'; at++) {
                if (*at == '\\')
                    at++;
                if (*at == '\0')
                    return NULL;
            }
            at++;
            break;
        case '{': case '[':
            depth++;
            at++;
            break;
        case '}': case ']':
            depth--;
            at++;
            break;
        case ',': case ':': case ' ': case '\n': case '\t': case '\r':
            if (depth == 0)
                return NULL;
            at++;
            break;
        case '\0':
            return NULL;
        default: /* a number, true, false or null */
            at += strcspn(at, ",:]}\" \t\r\n");
        }
    } while (depth > 0);
    return depth == 0 ? at : NULL;
}

/* Takes the next member out of an object: `at` stands behind "{" or behind the last value. Returns 1 with a member,
 * 0 at the object's end, -1 for what is no JSON object. */
static int next_member(const char **at, struct slice *name, struct slice *value)
{
    const char *here = skip_space(*at);
    if (*here == '}')
        return 0;
    if (*here == ',')
        here = skip_space(here + 1);
    const char *end = *here == '"' ? end_of_value(here) : NULL;
    if (!end)
        return -1;
    *name = (struct slice){here, (size_t)(end - here)};
    here = skip_space(end);
    if (*here != ':')
        return -1;
    here = skip_space(here + 1);
    end = end_of_value(here);
    if (!end)
        return -1;
    *value = (struct slice){here, (size_t)(end - here)};
    *at = end;
    return 1;
}

static int is(struct slice slice, const char *text)
{
    return slice.length == strlen(text) && memcmp(slice.begin, text, slice.length) == 0;
}

static int contains(struct slice slice, const char *text)
{
    return slice.begin && memmem(slice.begin, slice.length, text, strlen(text)) != NULL;
}

/* Copies a string's text. Returns 0, or -1 if it has escapes or does not fit: then Python reads it. */
static int copy_string(struct slice slice, char *target, size_t size)
{
    if (slice.length < 2 || slice.begin[0] != '"' || slice.length - 2 >= size ||
        memchr(slice.begin, '\\', slice.length))
        return -1;
    memcpy(target, slice.begin + 1, slice.length - 2);
    target[slice.length - 2] = '\0';
    return 0;
}

/* Says whether a comma-separated list has a word. */
static int has_word(const char *list, const char *word)
{
    size_t length = strlen(word);
    for (const char *at = list; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, word, length) == 0 && (at[length] == ',' || at[length] == '\0'))
            return 1;
    return 0;
}

/* Reads the directories of cgroup v1, {"cpu,cpuacct": "/sys/fs/cgroup/...", ...}. */
static outcome read_cgroups_v1(struct state *state, struct slice object)
{
    struct slice name, value;
    const char *at = object.begin + 1;
    int found;
    while ((found = next_member(&at, &name, &value)) > 0) {
        char controllers[NAME_MAX];
        if (state->cgroup_count == MOST_CGROUPS || copy_string(name, controllers, sizeof controllers) < 0 ||
            copy_string(value, state->cgroups[state->cgroup_count], PATH_MAX) < 0)
            return FOR_PYTHON;
        if (has_word(controllers, "freezer"))
            strcpy(state->freezer, state->cgroups[state->cgroup_count]);
        state->cgroup_count++;
    }
    return found < 0 ? FOR_PYTHON : DONE;
}

/* Reads a container's state. Anything but a usual container is for Python, one without state as well. */
static outcome read_state(struct state *state, int directory)
{
    struct slice name, value, number = {0};
    int file = openat(directory, "state.json", O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file < 0)
        return FOR_PYTHON;
    ssize_t size = read(file, state->text, sizeof state->text - 1);
    close(file);
    if (size <= 0 || size == sizeof state->text - 1 || state->text[0] != '{')
        return FOR_PYTHON;
    state->text[size] = '\0';
    state->cgroup_count = 1;

    const char *at = state->text + 1;
    int found;
    while ((found = next_member(&at, &name, &value)) > 0) {
        if (is(name, "\"id\""))
            state->id = value;
        else if (is(name, "\"bundle\""))
            state->bundle = value;
        else if (is(name, "\"rootfs\""))
            state->rootfs = value;
        else if (is(name, "\"annotations\""))
            state->annotations = value;
        else if (is(name, "\"unit\""))
            state->unit = value;
        else if (is(name, "\"hooks\""))
            state->hooks = value;
        else if (is(name, "\"created\""))
            state->created = strtod(value.begin, NULL);
        else if (is(name, "\"pid\""))
            number = value;
        else if (is(name, "\"pid_start_time\"")) {
            if (copy_string(value, state->pid_start_time, sizeof state->pid_start_time) < 0)
                return FOR_PYTHON;
        } else if (is(name, "\"cgroup\"")) {
            if (copy_string(value, state->cgroups[0], PATH_MAX) < 0)
                return FOR_PYTHON;
        } else if (is(name, "\"cgroup_v1\"")) {
            if (read_cgroups_v1(state, value) != DONE)
                return FOR_PYTHON;
        } else if (!is(value, "\"\"") && !is(value, "[]") && !is(value, "{}") && !is(value, "false"))
            return FOR_PYTHON; /* what makes a container unusual */
    }
    state->pid = number.begin ? atoi(number.begin) : 0;
    if (found < 0 || state->pid <= 0 || !state->id.begin || !state->bundle.begin || !state->rootfs.begin)
        return FOR_PYTHON;
    return DONE;
}

/* ---- what the kernel says of it --------------------------------------------------------------------------------- */

/* Reads a small file whole. Returns its length, or -1. */
static ssize_t read_text(const char *path, char *text, size_t size)
{
    int file = open(path, O_RDONLY | O_CLOEXEC);
    if (file < 0)
        return -1;
    ssize_t length = read(file, text, size - 1);
    close(file);
    text[length > 0 ? length : 0] = '\0';
    return length;
}

/* Says whether the container's first process lives: by its start time, so that no other with its pid is meant. */
static int lives(const struct state *state)
{
    char path[64], text[1024];
    snprintf(path, sizeof path, "/proc/%d/stat", (int)state->pid);
    if (read_text(path, text, sizeof text) <= 0)
        return 0;
    /* proc_pid_stat(5): the second field is the name in parentheses and may itself hold spaces and parentheses. */
    char *field = strrchr(text, ')');
    if (!field || strchr("ZX", field[2]))
        return 0;
    field += 2;
    for (int number = 3; field && number < 22; number++)
        if ((field = strchr(field, ' ')))
            field++;
    size_t length = strlen(state->pid_start_time);
    return field && length && strncmp(field, state->pid_start_time, length) == 0 && field[length] == ' ';
}

static const char *status_of(const struct state *state, int directory)
{
    char path[PATH_MAX + 32], text[16];
    if (!lives(state))
        return "stopped";
    if (*state->cgroups[0]) {
        snprintf(path, sizeof path, "%s/cgroup.freeze", state->cgroups[0]);
        if (read_text(path, text, sizeof text) > 0 && text[0] == '1')
            return "paused";
    }
    return faccessat(directory, "exec.fifo", F_OK, 0) == 0 ? "created" : "running";
}

/* Takes the container's lock, as state.Lock does: it counts only while it still has its name. Returns it or -1. */
static int take_lock(int directory)
{
    struct stat named, held;
    int file = openat(directory, "lock", O_RDWR | O_CLOEXEC);
    if (file < 0)
        return -1;
    if (flock(file, LOCK_EX) == 0 && fstatat(directory, "lock", &named, 0) == 0 && fstat(file, &held) == 0 &&
        named.st_ino == held.st_ino)
        return file;
    close(file);
    return -1;
}

#endif
