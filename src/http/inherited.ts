/**
 * Socket activation, sd_listen_fds(3): a listener that systemd opened before us and keeps while we restart, so that
 * connections wait in its backlog instead of being refused.
 */

/** SD_LISTEN_FDS_START. */
const FIRST_FD = 3;
/** What our socket units call it; one of another name counts when it is the only one. */
const NAME = 'http';

/**
 * The file descriptor of the HTTP listener that this process was handed, once; undefined when there is none. It is taken out of
 * the environment, so that children do not take it for theirs.
 */
export function inheritedListener(
  environment: NodeJS.ProcessEnv = process.env,
  pid: number = process.pid,
): number | undefined {
  const { LISTEN_PID: owner, LISTEN_FDS: given, LISTEN_FDNAMES: names = '' } = environment;
  const count = Number(given);
  if (owner !== String(pid) || !Number.isInteger(count) || count < 1) return undefined;
  for (const name of ['LISTEN_PID', 'LISTEN_FDS', 'LISTEN_FDNAMES']) delete environment[name];
  const index = names.split(':').indexOf(NAME);
  if (index >= 0 && index < count) return FIRST_FD + index;
  if (count === 1) return FIRST_FD;
  throw new Error(
    `${count} sockets were handed over and none is called '${NAME}': set FileDescriptorName=${NAME} in the socket unit`,
  );
}
