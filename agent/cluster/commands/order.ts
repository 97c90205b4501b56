import type { Quota, Queue, Reservation } from '../../../contract/index.ts'
import type { PricesRow } from '../state.ts'

/** Who is served when, and of how much: queues, quotas, reservations, prices. */
export type OrderCommand =
  /** Made if there is none; what is left out stays as it is. */
  | { type: 'queue.put'; name: string; change: QueueChange; if_version?: number }
  | { type: 'queue.delete'; name: string }
  | { type: 'quota.put'; subject: string; change: QuotaChange; if_version?: number }
  | { type: 'quota.delete'; subject: string }
  /** `over_running`: although tasks of others would still run there when it begins. */
  | ({ type: 'reservation.create'; over_running: boolean } & Omit<
      Reservation,
      'created_by' | 'resource_version'
    >)
  | { type: 'reservation.delete'; id: string }
  | { type: 'prices.put'; change: PricesChange }

export type QueueChange = Partial<Omit<Queue, 'name' | 'resource_version'>>
export interface QuotaChange extends Partial<Pick<Quota, 'guaranteed_gpu' | 'weight'>> {
  readonly limits?: Partial<Quota['limits']>
}
export type PricesChange = Partial<Omit<PricesRow, 'resource_version'>>
