/*
 * launcher - the executable `minirun`: Python, with Ctrl-C held back until it has started.
 */

#include "become_python.h"

int main(int count, char **words)
{
    return count > 0 ? become_python(words) : 1;
}
