/**
 * sd_notify(3): tells systemd that the program is ready, stopping and alive. Node cannot open a unix
 * datagram socket, so `systemd-notify` carries the message; it is present wherever systemd is. Our
 * units set NotifyAccess=all, because the message then comes from a child process.
 */
import { execFile } from 'node:child_process';
import type { Logger } from '#telemetry';

export interface Notifier {
  ready(): void;
  stopping(): void;
  close(): void;
}

const DEADLINE_MS = 5_000;

/** Does nothing when the program was not started by systemd with Type=notify. */
export function createNotifier(log: Logger): Notifier {
  if (!process.env['NOTIFY_SOCKET']) return { ready() {}, stopping() {}, close() {} };
  let failed = false;
  const send = (...states: string[]): void => {
    execFile('systemd-notify', states, { timeout: DEADLINE_MS }, (error) => {
      if (error && !failed) {
        failed = true;
        log.warn(
          { err: error },
          'systemd-notify cannot be run: use Type=exec and no WatchdogSec in the unit',
        );
      }
    });
  };
  // Half of the watchdog's time, from a timer of the event loop: a blocked loop misses it, as it should.
  const watchdogMs = Number(process.env['WATCHDOG_USEC'] ?? 0) / 1000;
  const timer = watchdogMs > 0 ? setInterval(() => send('WATCHDOG=1'), watchdogMs / 2) : undefined;
  timer?.unref();
  return {
    ready: () => send('--ready'),
    stopping: () => send('STOPPING=1'),
    close: () => clearInterval(timer),
  };
}
