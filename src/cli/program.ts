/**
 * Runs a long-lived program: logs, metrics, signals, reload and systemd. The first SIGTERM or SIGINT
 * drains, a second one exits at once, SIGHUP reads the configuration again.
 */
import { flushCompileCache } from 'node:module';
import type { OptionTable, Values } from '#config';
import { formatHostPort, type HostPort } from '#http';
import { createLogger, createMetrics, type Logger, type LogOptions, type Metrics } from '#telemetry';
import type { Invocation } from './command.ts';
import { EXIT_DONE, EXIT_FAILED } from './exit.ts';
import { createNotifier } from './systemd.ts';

/** What a program's door answers with. */
export interface Running<T extends OptionTable = OptionTable> {
  readonly address: HostPort;
  readonly bittorrentAddress?: HostPort | undefined;
  readonly udpAddress?: HostPort | undefined;
  /** Applies what can change while it runs; answers with the beginnings of the keys that it took. */
  reload?(values: Values<T>): Promise<readonly string[]>;
  close(): Promise<void>;
}

/** Sent to the parent over the IPC channel, when there is one (`shoal up` is such a parent). */
export interface ReadyMessage {
  readonly ready: { readonly address: string; readonly bittorrent: string | undefined };
}

/** DESIGN of the product: SIGTERM drains within 30 s. A little more, for the goodbye itself. */
const DRAIN_DEADLINE_MS = 31_000;

type ProgramTable = OptionTable & { readonly 'log.level': unknown };
type Settings = Invocation<OptionTable>['settings'];
type Level = NonNullable<LogOptions['level']>;

/** What was compiled by then is kept for the next start (see bin/shoal), also when this one ends by kill -9. */
const KEEP_COMPILED_MS = 60_000;

export async function runProgram<T extends ProgramTable>(
  name: string,
  invocation: Invocation<T>,
  start: (telemetry: { readonly log: Logger; readonly metrics: Metrics }) => Promise<Running<T>>,
): Promise<number> {
  const log = createLogger({ program: name, level: levelOf(invocation) });
  const metrics = createMetrics({ process: true });
  const surprise = (error: unknown): void => {
    log.fatal({ err: error }, 'unexpected error');
    process.exit(EXIT_FAILED);
  };
  process.on('uncaughtException', surprise);
  process.on('unhandledRejection', surprise);

  // Listened to before the start, so that a signal during the start is not lost; SIGHUP would end the process.
  const asked = stopRequest(log);
  const started = Promise.withResolvers<Running<T>>();
  process.on('SIGHUP', reloader(invocation, started.promise, log));
  const notifier = createNotifier(log);
  const running = await start({ log, metrics });
  const addresses = {
    address: formatHostPort(running.address),
    bittorrent: running.bittorrentAddress && formatHostPort(running.bittorrentAddress),
    udp: running.udpAddress && formatHostPort(running.udpAddress),
  };
  log.info(addresses, 'ready');
  notifier.ready();
  process.send?.({ ready: addresses } satisfies ReadyMessage);
  setTimeout(flushCompileCache, KEEP_COMPILED_MS).unref();
  started.resolve(running);

  const reason = await asked;
  log.info({ reason }, 'stopping: finishing what streams; a second signal exits at once');
  notifier.stopping();
  const deadline = setTimeout(() => {
    log.error('not everything ended in time; exiting');
    process.exit(EXIT_FAILED);
  }, DRAIN_DEADLINE_MS);
  await running.close();
  clearTimeout(deadline);
  notifier.close();
  metrics.close();
  log.info('stopped');
  return EXIT_DONE;
}

/** Resolves at the first SIGTERM or SIGINT, or when a parent on the IPC channel is gone. */
function stopRequest(log: Logger): Promise<string> {
  return new Promise((resolve) => {
    let stopping = false;
    const onSignal = (signal: NodeJS.Signals): void => {
      if (stopping) {
        log.warn({ signal }, 'second signal: exiting at once');
        process.exit(EXIT_FAILED);
      }
      stopping = true;
      resolve(signal);
    };
    process.on('SIGTERM', onSignal);
    process.on('SIGINT', onSignal);
    if (process.send) {
      process.once('disconnect', () => {
        stopping = true;
        resolve('the parent process is gone');
      });
    }
  });
}

/** Applies what can change while it runs (the log level, and what the program takes) and names what needs a restart. */
function reloader<T extends ProgramTable>(
  invocation: Invocation<T>,
  started: Promise<Running<T>>,
  log: Logger,
): () => void {
  const atStart = invocation.settings;
  let current = atStart;
  const apply = async (): Promise<void> => {
    const running = await started;
    try {
      const next = invocation.again();
      const taken = (await running.reload?.(next.values)) ?? [];
      const changed = changesBetween(current, next.settings);
      current = next.settings;
      log.level = levelOf(next);
      // Since the start, not since the last signal: what was not taken then is not in force yet.
      const needRestart = changesBetween(atStart, current).filter(
        (key) => key !== 'log.level' && !taken.some((prefix) => key.startsWith(prefix)),
      );
      log.info({ changed, needRestart }, 'configuration read again');
    } catch (error) {
      log.error(
        { reason: (error as Error).message },
        'the configuration cannot be used; the running one is kept',
      );
    }
  };
  // One after another: a second signal must not overtake the first.
  let last: Promise<void> = Promise.resolve();
  return () => {
    last = last.then(apply);
  };
}

/** Keys whose texts are others, in order. */
function changesBetween(before: Settings, after: Settings): readonly string[] {
  const keys = new Set([...before.keys(), ...after.keys()]);
  return [...keys].filter((key) => before.get(key)?.texts.join() !== after.get(key)?.texts.join()).sort();
}

function levelOf(resolved: { readonly values: { readonly 'log.level'?: unknown } }): Level {
  return resolved.values['log.level'] as Level;
}
