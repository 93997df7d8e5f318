import { trackerConfig, trackerOptions } from '#tracker/options';
import { defineCommand } from './command.ts';
import { runProgram } from './program.ts';

export const tracker = defineCommand({
  name: 'tracker',
  summary: 'Runs a tracker alone, for blobs of the given origins',
  operands: '',
  operandCount: [0, 0],
  options: trackerOptions,
  switches: {},
  configFile: 'own',
  run: async (invocation) => {
    const configuration = trackerConfig(invocation.values);
    const { startTracker } = await import('#tracker');
    return runProgram('tracker', invocation, (telemetry) => startTracker(configuration, telemetry));
  },
});
