import { type DestinationStream, type Logger as PinoLogger, pino } from 'pino';

export type Logger = PinoLogger;

export interface LogOptions {
  /** Name of the program: origin, tracker, agent. */
  readonly program: string;
  readonly level?: 'silent' | 'fatal' | 'error' | 'warn' | 'info' | 'debug' | 'trace';
  /** Where lines go; standard error by default, so that standard output stays for results. */
  readonly destination?: DestinationStream;
}

/** A JSON line logger. Credentials in headers never reach a line. */
export function createLogger(options: LogOptions): Logger {
  return pino(
    {
      name: `shoal-${options.program}`,
      level: options.level ?? 'info',
      redact: {
        paths: ['req.headers.authorization', 'headers.authorization', '*.authorization'],
        censor: '[redacted]',
      },
      timestamp: pino.stdTimeFunctions.isoTime,
    },
    options.destination ?? pino.destination({ dest: 2, sync: false }),
  );
}
