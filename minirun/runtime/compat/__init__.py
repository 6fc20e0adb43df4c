"""What callers of other runtimes look for: runc's output and flags, crun's annotations, sd_notify(3)."""
