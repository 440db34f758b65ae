import { Webhook } from 'standardwebhooks';
import { describe, expect, it } from 'vitest';
import { deadLetterAlert } from '../../src/index.ts';
import type { DeadLetterDocument, PartitionDocument } from '../../src/store/documents.ts';
import { type DeliveryFixture, deliveryFixture } from '../setup/delivery.ts';
import { type Received, startReceiver } from '../setup/receiver.ts';
import { startSource } from '../setup/source-process.ts';
import { until } from '../setup/until.ts';
import { webhookModules, webhookSecret } from '../setup/webhook-modules.ts';

/** Webhooks through delivery: receivers that fail, processes that are killed, dead letters that somebody is told of. */
const idOf = ({ headers }: Received): string => String(headers['webhook-id']);
const eventOf = ({ body }: Received) =>
  JSON.parse(body) as { readonly id: string; readonly subject: string; readonly data: { readonly by: number } };
const letters = (fixture: DeliveryFixture) => fixture.connection.db.collection<DeadLetterDocument>('dead_letters');

describe('a webhook', () => {
  it('reaches a receiver that fails 30 % of the time with every event, in order for each key; more than once only under one id', async () => {
    const COUNT = 150;
    const fixture = await deliveryFixture();
    const receiver = await startReceiver();
    const taken: Received[] = [];
    let failed = 0;
    receiver.answer = (request, response) => {
      const random = Math.random();
      if (random < 0.15) {
        failed++;
        response.writeHead(500).end();
      } else if (random < 0.3) {
        // Takes it, and nobody hears that.
        failed++;
        taken.push(request);
        response.destroy();
      } else {
        taken.push(request);
        response.writeHead(202).end();
      }
    };
    const modules = webhookModules({ url: receiver.url, attempts: 'forever', breaker: false });
    await Promise.all([fixture.startWorker({ modules }), fixture.startWorker({ modules })]);
    for (let by = 0; by < COUNT; by++) await fixture.append([fixture.count(`k${by % 30}`, by)]);
    const known = (): Map<string, Received> => {
      const first = new Map<string, Received>();
      for (const one of taken) if (!first.has(eventOf(one).id)) first.set(eventOf(one).id, one);
      return first;
    };
    // Chance may let one fail ten times.
    await until('every event', () => (known().size === COUNT ? true : undefined), {
      timeoutMs: 80_000,
      seen: () => known().size,
    });
    await until('no dead letters', async () => ((await letters(fixture).countDocuments()) === 0 ? true : undefined));
    // Of about 64: it is chance.
    expect(failed).toBeGreaterThan(COUNT * 0.1);
    const ids = new Map<string, string>();
    for (const one of taken) {
      const event = eventOf(one).id;
      expect(idOf(one)).toBe(ids.get(event) ?? idOf(one));
      ids.set(event, idOf(one));
      new Webhook(webhookSecret).verify(one.body, one.headers as Record<string, string>);
    }
    const order = new Map<string, number[]>();
    for (const one of known().values()) {
      const { subject, data } = eventOf(one);
      order.set(subject, [...(order.get(subject) ?? []), data.by]);
    }
    for (const seen of order.values()) expect(seen).toEqual([...seen].sort((a, b) => a - b));
  }, 300_000);

  it('comes again under the same id when its process was killed between sending and writing that down', async () => {
    const fixture = await deliveryFixture();
    const receiver = await startReceiver();
    const { mongoUrl, redisUrl, database, prefix } = fixture.servers;
    const start = async () => {
      const args = [mongoUrl, redisUrl, database, prefix, receiver.url];
      const worker = startSource('test/setup/processes/run-webhook.ts', args);
      expect(await worker.line()).toBe('ready');
      return worker;
    };
    const first = await start();
    receiver.answer = () => {
      first.child.kill('SIGKILL');
    };
    await fixture.append([fixture.count('a')]);
    await first.exited;
    receiver.answer = (_, response) => response.writeHead(204).end();
    const second = await start();
    await until('the second delivery', () => receiver.received[1]);
    const partitions = fixture.connection.db.collection<PartitionDocument>('partitions');
    await until('its checkpoint', async () => (await partitions.findOne({ checkpoint: { $gte: 1 } })) ?? undefined);
    second.child.kill('SIGKILL');
    await second.exited;
    expect(receiver.received).toHaveLength(2);
    expect(new Set(receiver.received.map(idOf)).size).toBe(1);
    expect(new Set(receiver.received.map(({ body }) => body)).size).toBe(1);
  }, 300_000);

  it('waits as long as the receiver asks for', async () => {
    const fixture = await deliveryFixture();
    const receiver = await startReceiver();
    receiver.answer = (_, response) => {
      if (receiver.received.length > 1) response.writeHead(204).end();
      else response.writeHead(429, { 'retry-after': '2' }).end();
    };
    await fixture.startWorker({ modules: webhookModules({ url: receiver.url }) });
    await fixture.append([fixture.count('a')]);
    await until('the second try', () => receiver.received[1]);
    const [first, second] = receiver.received;
    expect((second?.atMs ?? 0) - (first?.atMs ?? 0)).toBeGreaterThanOrEqual(1_950);
  });

  it('whose receiver is gone is dead at once', async () => {
    const fixture = await deliveryFixture();
    const receiver = await startReceiver();
    receiver.answer = (_, response) => response.writeHead(410).end();
    await fixture.startWorker({ modules: webhookModules({ url: receiver.url }) });
    await fixture.append([fixture.count('a')]);
    const letter = await until('its dead letter', async () => (await letters(fixture).findOne()) ?? undefined);
    expect(letter).toMatchObject({ state: 'DEAD', attempts: 1, error: { type: 'NonRetryableError' } });
    expect(receiver.received).toHaveLength(1);
  });
});

describe('an alert', () => {
  const textOf = ({ body }: Received): string => JSON.parse(body).text;

  it('comes within 10 s of a dead letter, once for each consumer and cause, whatever the number of processes', async () => {
    const fixture = await deliveryFixture();
    const [receiver, slack] = await Promise.all([startReceiver(), startReceiver()]);
    receiver.answer = (_, response) => response.writeHead(410).end('<gone> & "closed"');
    const alert = deadLetterAlert({ url: slack.url, windowMs: 600_000 });
    const modules = webhookModules({ url: receiver.url }, [alert]);
    await Promise.all([fixture.startWorker({ modules }), fixture.startWorker({ modules })]);
    await fixture.append([fixture.count('first')]);
    const first = await until('the alert', () => slack.received[0]);
    const letter = await letters(fixture).findOne();
    expect(first.atMs - (letter?.lastFailedAt.getTime() ?? 0)).toBeLessThan(10_000);
    await fixture.append(Array.from({ length: 20 }, (_, index) => fixture.count(`k${index}`)));
    await until('all are dead', async () => ((await letters(fixture).countDocuments()) === 21 ? true : undefined));
    receiver.answer = (_, response) => response.writeHead(410).end('another cause');
    await fixture.append([fixture.count('last')]);
    await until('the alert for another cause', () => slack.received[1]);
    expect(textOf(slack.received[1] as Received)).toContain('another cause');
    expect(slack.received).toHaveLength(2);
    const text = textOf(slack.received[0] as Received);
    expect(text).toMatch(/^\*1 dead letter\* in consumer \*hook\*\n/);
    expect(text).toContain('&lt;gone&gt; &amp;');
    expect(text).not.toContain(receiver.url);
  });

  it('that is not taken is told again', async () => {
    const fixture = await deliveryFixture();
    const [receiver, slack] = await Promise.all([startReceiver(), startReceiver()]);
    receiver.answer = (_, response) => response.writeHead(410).end();
    slack.answer = (_, response) => response.writeHead(500).end();
    const alert = deadLetterAlert({ url: slack.url });
    await fixture.startWorker({ modules: webhookModules({ url: receiver.url }, [alert]) });
    await fixture.append([fixture.count('bad')]);
    await until('an alert that is refused', () => slack.received[0]);
    const alerts = fixture.connection.db.collection('alerts');
    slack.answer = (_, response) => response.writeHead(200).end('ok');
    // As if the time until the next try were over.
    await until('the second', async () => {
      await alerts.updateOne({ toldAt: { $exists: false } }, { $set: { notBefore: new Date(0) } });
      return slack.received[1];
    });
    await until('its record', async () => (await alerts.findOne({ toldAt: { $exists: true } })) ?? undefined);
  });

  it('that hangs holds up no delivery', async () => {
    const fixture = await deliveryFixture();
    const [receiver, slack] = await Promise.all([startReceiver(), startReceiver()]);
    receiver.answer = (request, response) => response.writeHead(eventOf(request).subject === 'bad' ? 410 : 204).end();
    let hanging = 0;
    slack.answer = (_, response) => {
      hanging++;
      response.once('close', () => hanging--);
    };
    const alert = deadLetterAlert({ url: slack.url });
    await fixture.startWorker({ modules: webhookModules({ url: receiver.url }, [alert]) });
    await fixture.append([fixture.count('bad')]);
    await until('an alert that hangs', () => slack.received[0]);
    await fixture.append([fixture.count('good')]);
    await until(
      'the next event, or an end of the alert',
      () => receiver.received.some((one) => eventOf(one).subject === 'good') || hanging === 0 || undefined,
    );
    expect({ hanging }).toEqual({ hanging: 1 });
  });
});
