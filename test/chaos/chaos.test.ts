import { describe, expect, it } from 'vitest'
import { needs } from '../setup/needs.ts'
import { runChaos } from './chaos.ts'
import { faults } from './faults.ts'
import { Fleet } from './fleet.ts'
import { keep } from './report.ts'

describe('three agents that meet every kind of fault once', needs.chaos, () => {
  it('lose nothing that was acknowledged, run nothing twice, and tell every client one story', async () => {
    const said: string[] = []
    const fleet = await Fleet.start(3)
    try {
      const report = await runChaos(fleet, { agents: 3, seed: 1, say: (line) => said.push(line) })
      const where = report.verdict === 'ok' ? '' : `kept in ${await keep(fleet, report)}\n`
      expect(report.wrong, `${where}${said.join('\n')}`).toEqual([])
      expect(report.verdict).toBe('ok')
      expect([...report.faults.keys()].toSorted()).toEqual(Object.keys(faults).toSorted())
      expect([...report.tally.kinds.keys()].toSorted()).toEqual([
        'read',
        'submit',
        'write',
        'write over a version',
      ])
      for (const { ok } of report.tally.kinds.values()) expect(ok).toBeGreaterThan(0)
      expect(report.elections).toBeGreaterThan(0)
    } finally {
      await fleet.stop()
      await fleet.removeFolder()
    }
  }, 600_000)
})
