/*
 * watcher stop          - stop every process that appears in this PID namespace, as fast as it appears.
 * watcher MARKER SECRET - look into every process that appears.
 *
 * Each is stopped, looked through, and let go, a few times. What was seen is written to standard output, line by line:
 *   cmdline|environ|exe|maps N TEXT     what /proc/N shows
 *   reached N WHERE                     MARKER, a file of the host, could be opened by way of WHERE
 *   secret N WHERE                      SECRET was found there
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define UP "../../../../../../../../../../../../"

static const char *marker, *secret;
static char buffer[1 << 20];

static void tell(const char *what, int pid, const char *text)
{
    char line[512];
    int length = snprintf(line, sizeof line, "%s %d %.400s\n", what, pid, text);
    if (write(STDOUT_FILENO, line, (size_t)length) != length)
        exit(1);
}

/* Try to get from a directory of the process to the host's file. */
static void reach(int pid, int process, const char *where)
{
    char path[512];
    int directory = openat(process, where, O_PATH | O_DIRECTORY);
    if (directory < 0)
        return;
    snprintf(path, sizeof path, UP "%s", marker);
    int direct = openat(directory, marker + 1, O_RDONLY), up = openat(directory, path, O_RDONLY);
    if (direct >= 0 || up >= 0)
        tell("reached", pid, where);
    close(direct);
    close(up);
    close(directory);
}

static void read_text(int pid, int process, const char *name)
{
    int file = openat(process, name, O_RDONLY);
    ssize_t length = file < 0 ? -1 : read(file, buffer, sizeof buffer - 1);
    close(file);
    if (length <= 0)
        return;
    if (memmem(buffer, (size_t)length, secret, strlen(secret)))
        tell("secret", pid, name);
    for (ssize_t index = 0; index < length; index++)
        if (buffer[index] < ' ' || buffer[index] > '~')
            buffer[index] = ' ';
    buffer[length] = 0;
    tell(name, pid, buffer);
}

/* Every file that is mapped, and the secret in all that can be read of the memory. */
static void read_memory(int pid, int process)
{
    static char maps[1 << 18];
    int file = openat(process, "maps", O_RDONLY), memory = openat(process, "mem", O_RDONLY);
    ssize_t length = 0, count;
    while (file >= 0 && (count = read(file, maps + length, sizeof maps - 1 - (size_t)length)) > 0)
        length += count;
    maps[length] = 0;
    for (char *line = strtok(maps, "\n"); line; line = strtok(NULL, "\n")) {
        unsigned long first, last;
        char *path = strchr(line, '/');
        if (path)
            tell("maps", pid, path);
        if (sscanf(line, "%lx-%lx r", &first, &last) != 2)
            continue;
        for (; first < last; first += sizeof buffer) {
            size_t size = last - first < sizeof buffer ? last - first : sizeof buffer;
            count = pread(memory, buffer, size, (off_t)first);
            if (count > 0 && memmem(buffer, (size_t)count, secret, strlen(secret)))
                tell("secret", pid, "memory");
        }
    }
    close(file);
    close(memory);
}

static void look_into(int pid, int process)
{
    char path[64], target[256];
    reach(pid, process, "root");
    reach(pid, process, "cwd");
    int directory = openat(process, "fd", O_RDONLY | O_DIRECTORY);
    DIR *list = directory < 0 ? NULL : fdopendir(directory);
    for (struct dirent *entry; list && (entry = readdir(list));) {
        snprintf(path, sizeof path, "fd/%.32s", entry->d_name);
        reach(pid, process, path);
    }
    if (list)
        closedir(list);
    ssize_t length = readlinkat(process, "exe", target, sizeof target - 1);
    if (length > 0) {
        target[length] = 0;
        tell("exe", pid, target);
    }
    read_text(pid, process, "cmdline");
    read_text(pid, process, "environ");
    read_memory(pid, process);
}

/* The next pids are looked for again and again; once in a while those behind them, in case some came and went unseen. */
static int reach_of(int turn)
{
    return turn % 1024 ? 4 : 512;
}

int main(int count, char **arguments)
{
    char path[64];
    int last = getpid();
    tell("watching", last, "");
    for (int turn = 1; count == 2; turn++)
        for (int pid = last + 1; pid < last + reach_of(turn); pid++)
            if (kill(pid, SIGSTOP) == 0)
                last = pid;
    if (count != 3)
        return 2;
    marker = arguments[1];
    secret = arguments[2];
    for (int turn = 1;; turn++)
        for (int pid = last + 1; pid < last + reach_of(turn); pid++) {
            snprintf(path, sizeof path, "/proc/%d", pid);
            int process = open(path, O_PATH | O_DIRECTORY);
            if (process < 0)
                continue;
            for (int round = 0; round < 4; round++) {
                kill(pid, SIGSTOP);
                look_into(pid, process);
                kill(pid, SIGCONT);
                usleep(round * 300);
            }
            close(process);
            last = pid;
            break;
        }
}
