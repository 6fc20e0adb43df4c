/* Why the kernel does not execute a file that is there: execve(2) says "no such file or directory" of a script whose
 * interpreter is missing, and of a program whose loader is. */

#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Prints why an execve(2) of `program` failed: `reason` is the error's text. What the file is comes after that, since a
 * seccomp filter may kill this process for looking. */
static void tell_exec_failure(const char *program, int error, const char *reason)
{
    dprintf(STDERR_FILENO, "exec %s: %s", program, reason);
    char start[256] = "";
    int file = open(program, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    ssize_t length = file < 0 ? -1 : pread(file, start, sizeof start - 1, 0);
    int is_elf = memcmp(start, ELFMAG, SELFMAG) == 0;
    if (error == ENOENT && strncmp(start, "#!", 2) == 0) {
        char *interpreter = start + 2 + strspn(start + 2, " \t");
        interpreter[strcspn(interpreter, "\n")] = '\0';
        int is_windows = strchr(interpreter, '\r') != NULL;
        interpreter[strcspn(interpreter, " \t\r")] = '\0';
        for (char *letter = interpreter; *letter; letter++)
            if (*letter < ' ' || *letter > '~')
                *letter = '?'; /* it must not steer a terminal */
        if (is_windows)
            dprintf(STDERR_FILENO, ": its first line ends with a carriage return, as on Windows");
        else
            dprintf(STDERR_FILENO, ": its interpreter %s is missing", interpreter);
    } else if (error == ENOENT && is_elf) {
        dprintf(STDERR_FILENO, ": the loader that it was linked for is missing");
    } else if (error == ENOEXEC && length >= 0) {
        dprintf(STDERR_FILENO, is_elf ? ": it is for another kind of machine, or damaged"
                                      : ": a script begins with a line such as #!/bin/sh");
    }
    dprintf(STDERR_FILENO, "\n");
}
