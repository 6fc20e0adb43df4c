/* The way of an executable to its script in Python; launcher/executables.py writes both. */

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/*
 * Executes the script, whose path stands at the end of this very file:
 *
 *   ELF | path NUL | length of these two, as text of 8 digits
 *
 * Ctrl-C has to wait until Python has started, and then ends it: Python would answer by a traceback. The first lines of
 * the script let it in.
 */
static int become_python(char **words)
{
    static char path[PATH_MAX];
    char digits[9] = "";
    int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    off_t size = lseek(file, 0, SEEK_END);
    if (file < 0 || size < 8 || pread(file, digits, 8, size - 8) != 8) {
        dprintf(STDERR_FILENO, "minirun: cannot read /proc/self/exe: %s\n", strerror(errno));
        return 1;
    }
    long length = strtol(digits, NULL, 10);
    if (length <= 0 || length >= (long)sizeof path || pread(file, path, (size_t)length, size - 8 - length) != length) {
        dprintf(STDERR_FILENO, "minirun: this executable is not installed: run scripts/provision.sh\n");
        return 1;
    }
    sigset_t interrupt;
    sigemptyset(&interrupt);
    sigaddset(&interrupt, SIGINT);
    sigprocmask(SIG_BLOCK, &interrupt, NULL);
    words[0] = path;
    execv(path, words);
    dprintf(STDERR_FILENO, "minirun: cannot execute %s: %s\n", path, strerror(errno));
    return 1;
}
