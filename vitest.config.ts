import { defineConfig } from 'vitest/config'
import { SkipReport } from './test/setup/skips.ts'

// `npm test` runs `unit`, then `peers`, which has others' programs beside ours; `system` needs real engines,
// browsers and minutes; `electron` its binary.
export default defineConfig({
  test: {
    reporters: ['default', new SkipReport()],
    projects: [
      {
        extends: true,
        test: {
          name: 'unit',
          include: [
            '{raft,contract,agent,cli,main,resources}/**/*.test.ts',
            'renderer/**/*.test.ts',
            'test/{unit,sim,simulate,model,history}/**/*.test.ts',
            'bench/**/*.test.ts',
          ],
          testTimeout: 20_000,
        },
      },
      {
        extends: true,
        test: {
          name: 'peers',
          include: ['test/peers/**/*.test.ts'],
          retry: 1,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
          sequence: { groupOrder: 1 },
        },
      },
      {
        extends: true,
        test: {
          name: 'system',
          include: ['test/{cluster,docker,e2e,chaos,conformance}/**/*.test.ts'],
          // Whole clusters on a machine that others share. What passed only the second time is named at the end.
          retry: 1,
          testTimeout: 180_000,
          hookTimeout: 180_000,
          fileParallelism: false,
        },
      },
      {
        extends: true,
        test: {
          name: 'electron',
          include: ['test/electron/**/*.test.ts'],
          testTimeout: 120_000,
          hookTimeout: 120_000,
          fileParallelism: false,
        },
      },
    ],
  },
})
