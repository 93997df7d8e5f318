/** Exit codes of every command. */
export const EXIT_DONE = 0;
export const EXIT_FAILED = 1;
/** The command line or the configuration is wrong; starting again would not help. */
export const EXIT_USAGE = 2;
/** As shells tell of what SIGINT ended. */
export const EXIT_INTERRUPTED = 130;
