import { originConfig, originOptions } from '#origin/options';
import { defineCommand } from './command.ts';
import { runProgram } from './program.ts';

export const origin = defineCommand({
  name: 'origin',
  summary:
    'Runs the origin: an OCI registry that makes a torrent of each blob, seeds it and runs the tracker',
  operands: '',
  operandCount: [0, 0],
  options: originOptions,
  switches: {},
  configFile: 'own',
  run: async (invocation) => {
    const configuration = originConfig(invocation.values);
    const { startOrigin } = await import('#origin');
    return runProgram('origin', invocation, async (telemetry) => {
      const running = await startOrigin(configuration, telemetry);
      return {
        ...running,
        async reload(values) {
          await running.reload(originConfig(values));
          return ['access.'];
        },
      };
    });
  },
});
