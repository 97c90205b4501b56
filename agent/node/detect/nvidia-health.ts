import type { Reason } from '../../../contract/index.ts'
import { child, type Element, number, text } from './nvidia-xml.ts'

/** What keeps a device from being handed out, as `nvidia-smi -q -x` tells of it; the gravest first. */
export function faultOf(gpu: Element): Reason | undefined {
  return needsReset(gpu) ?? brokenMemory(gpu) ?? memoryErrors(gpu) ?? waitsForRepair(gpu)
}

/** Drivers of version 565 and later tell what is to be done, those before whether a reset is required. */
function needsReset(gpu: Element): Reason | undefined {
  const action = text(gpu['gpu_recovery_action'])
  const old = text(child(gpu, 'gpu_reset_status')?.['reset_required'])
  if (action !== undefined && action !== 'None')
    return fault('gpu_needs_reset', `the driver asks for it to be recovered: ${action}`)
  if (old === 'Yes')
    return fault('gpu_needs_reset', 'the driver says that it must be reset (nvidia-smi --gpu-reset)')
  return undefined
}

function brokenMemory(gpu: Element): Reason | undefined {
  const rows = child(gpu, 'remapped_rows')
  const broken = text(rows?.['remapped_row_failure']) === 'Yes'
  const unrepairable = text(child(gpu, 'ecc_errors')?.['unrepairable_memory']) === 'Yes'
  if (!broken && !unrepairable) return undefined
  return fault('gpu_memory_broken', 'its memory has errors that cannot be put aside: it should be replaced')
}

/** Counted since the driver was loaded or the device was reset. */
function memoryErrors(gpu: Element): Reason | undefined {
  const now = child(child(gpu, 'ecc_errors'), 'volatile')
  const older = child(now, 'double_bit')
  const counts = [
    now?.['dram_uncorrectable'],
    now?.['sram_uncorrectable'],
    now?.['sram_uncorrectable_parity'],
    now?.['sram_uncorrectable_secded'],
    older?.['total'],
  ]
  const errors = counts.reduce<number>((sum, count) => sum + (number(count) ?? 0), 0)
  if (!errors) return undefined
  return fault(
    'gpu_memory_errors',
    `${errors} uncorrectable memory errors (ECC) since its last reset; reset it or restart the host, and replace it if they come back`,
  )
}

function waitsForRepair(gpu: Element): Reason | undefined {
  const rows = text(child(gpu, 'remapped_rows')?.['remapped_row_pending'])
  const retired = child(gpu, 'retired_pages')
  const pages = text(retired?.['pending_retirement']) ?? text(retired?.['pending_blacklist'])
  if (rows !== 'Yes' && pages !== 'Yes') return undefined
  return fault(
    'gpu_repair_pending',
    'bad memory is put aside at its next reset; reset it or restart the host',
  )
}

const fault = (code: string, message: string): Reason => ({ code, message })

/** Under these what runs goes on: the device still works, or nobody can tell that it does not. */
const survivable = new Set(['gpu_repair_pending', 'gpu_memory_broken', 'driver_silent'])

/** Whether a task cannot go on with a device of this fault. */
export const endsTasks = ({ code }: Reason): boolean => !survivable.has(code)
