/**
 * Logs (pino), metrics (Prometheus) and health. One instance a program; nothing is global, so
 * several programs can run in one process (tests do).
 */
export { exposeDisk } from './disk.ts';
export { createLogger, type Logger, type LogOptions } from './log.ts';
export { createMetrics, type Metrics } from './metrics.ts';
