import { agentConfig, agentOptions } from '#daemon/options';
import { defineCommand } from './command.ts';
import { runProgram } from './program.ts';

export const agent = defineCommand({
  name: 'agent',
  summary: 'Runs the agent of a compute node: a registry mirror that fetches from the swarm and seeds it',
  operands: '',
  operandCount: [0, 0],
  options: agentOptions,
  switches: {},
  configFile: 'own',
  run: async (invocation) => {
    const configuration = agentConfig(invocation.values);
    const { startAgent } = await import('#daemon');
    return runProgram('agent', invocation, async (telemetry) => {
      const running = await startAgent(configuration, telemetry);
      return {
        ...running,
        async reload(values) {
          running.reload(agentConfig(values));
          return ['upload.', 'download.', 'rates.'];
        },
      };
    });
  },
});
