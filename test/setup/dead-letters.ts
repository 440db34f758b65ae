import { Queue } from 'bullmq';
import { Redis } from 'ioredis';
import { afterAll } from 'vitest';
import { type OperatorEnd, releaseErrand } from '../../src/engine/operators/operator-errands.ts';
import { retryQueueName } from '../../src/queue/retries.ts';
import { deadLetterId } from '../../src/store/dead-letters.ts';
import type { DeadLetterDocument, ParkedEventDocument } from '../../src/store/documents.ts';
import type { DeliveryFixture } from './delivery.ts';
import { LOG_ID, type TestWorker } from './test-worker.ts';
import { until } from './until.ts';

const generation = 1;

/** What a test looks at and does to dead letters of `counters` (or another consumer). */
export function deadLettersOf(fixture: DeliveryFixture, consumer = 'counters') {
  const letters = fixture.connection.db.collection<DeadLetterDocument>('dead_letters');
  const parkedEvents = fixture.connection.db.collection<ParkedEventDocument>('parked_events');
  const idOf = (key: string): string => deadLetterId(LOG_ID, { consumer, generation }, key);
  const of = async (key: string): Promise<DeadLetterDocument | undefined> =>
    (await letters.findOne({ _id: idOf(key) })) ?? undefined;
  return {
    letters,
    parkedEvents,
    idOf,
    of,
    /** Waits until the key's record is as asked. */
    until: async (
      awaited: string,
      key: string,
      is: (record: DeadLetterDocument) => boolean,
      timeoutMs = 60_000,
    ): Promise<DeadLetterDocument> => {
      let seen: unknown;
      const look = async (): Promise<DeadLetterDocument | undefined> => {
        const record = await of(key);
        seen = record && { ...record, error: record.error.message };
        return record !== undefined && is(record) ? record : undefined;
      };
      return until(awaited, look, { timeoutMs, seen: () => seen });
    },
    healed: (key: string, timeoutMs = 60_000): Promise<true> => {
      let seen: unknown;
      const look = async (): Promise<true | undefined> => {
        const record = await of(key);
        seen = record && { ...record, error: record.error.message };
        return record === undefined ? true : undefined;
      };
      return until(`the dead letter of ${key} is healed`, look, { timeoutMs, seen: () => seen });
    },
    positions: async (key: string): Promise<readonly number[]> =>
      (
        await parkedEvents
          .find({ deadLetter: idOf(key) })
          .sort({ _id: 1 })
          .toArray()
      ).map(({ position }) => position),
    /** What an operator does. */
    release: async (worker: TestWorker, key: string): Promise<OperatorEnd> => {
      const record = await of(key);
      return worker.delivery.errand(consumer, record?.partition ?? 0, releaseErrand(idOf(key)));
    },
  };
}

/** BullMQ's own view of the tries. */
export function retryQueue(fixture: DeliveryFixture, consumer = 'counters', version = 1): Queue {
  const { redisUrl, prefix } = fixture.servers;
  const connection = new Redis(redisUrl, { maxRetriesPerRequest: null });
  const queue = new Queue(retryQueueName(LOG_ID, { consumer, version }), { connection, prefix });
  queue.on('error', () => undefined);
  afterAll(async () => {
    await queue.close().catch(() => undefined);
    connection.disconnect();
  });
  return queue;
}
