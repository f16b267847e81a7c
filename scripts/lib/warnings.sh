# shellcheck shell=bash
# Sourced on the host and in the box.

# What in the kernel's log makes a run or a test fail (extended regular expression).
# shellcheck disable=SC2034
KERNEL_WARNINGS='WARNING:|BUG:|kernel BUG at|Oops|Call Trace|blocked for more than|rcu.*stall|soft lockup|INFO: possible|inconsistent lock state|general protection fault|refcount_t:|UBSAN|KASAN|KFENCE:|scheduling while atomic|DMA-API:|unreferenced object|drm_WARN'

# without_reports WORDS — the kernel's log on standard input without those reports ("cut here" to "end trace") that have
# one of WORDS in them.
without_reports() {
    awk -v words="$1" '
        BEGIN { count = split(words, known, " ") }
        /\[ cut here \]/ { held = 1; text = "" }
        held {
            text = text $0 "\n"
            if (/\[ end trace/) {
                held = 0
                for (i = 1; i <= count; i++)
                    if (index(text, known[i]))
                        next
                printf "%s", text
            }
            next
        }
        { print }
        END { if (held) printf "%s", text }'
}
