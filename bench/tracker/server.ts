/**
 * The tracker as the origin embeds it, alone in a process; every blob is admitted. Prints its addresses. A message by IPC is
 * answered with how long its event loop was held up since the last.
 */
import { createHttpServer } from '#http';
import { createLogger, createMetrics } from '#telemetry';
import { createTracker } from '#tracker';
import { watchLag } from '../measure/lag.ts';

const log = createLogger({ program: 'tracker', level: 'warn' });
const metrics = createMetrics();
const here = { host: '127.0.0.1', port: 0 };
const tracker = createTracker({
  admit: async () => ({ seeds: [{ host: '127.0.0.1', port: 6881, role: 'origin' }] }),
  log,
  metrics,
});
const http = await createHttpServer({ listen: here, log, metrics });
tracker.register(http.app);
const udp = await tracker.listenUdp(here);
const address = await http.start();
console.log(JSON.stringify({ http: address.port, udp: udp.port }));
const lag = watchLag();
process.on('message', () => process.send?.(lag()));
process.once('SIGTERM', () => process.exit(0));
