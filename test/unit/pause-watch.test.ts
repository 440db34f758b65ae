import { expect, it } from 'vitest';
import { watchPauses } from '../../src/engine/delivery/pause-watch.ts';
import { createLogger } from '../../src/logger.ts';
import { until } from '../setup/until.ts';

const logger = createLogger({ level: 'silent', pretty: false });
const consumers = [{ name: 'places', generation: 1 }];
const ended = (work: Promise<void>): Promise<true> => {
  let over = false;
  void work.then(() => {
    over = true;
  });
  return until('the watch has stopped', () => over || undefined);
};

it('a watch of pauses stops while MongoDB is silent: what was handled must still be written', async () => {
  let asked = false;
  const list = (): Promise<never> => {
    asked = true;
    return new Promise(() => undefined);
  };
  const mark = () => Promise.resolve(undefined);
  const watch = watchPauses({ store: { list, mark }, consumers, logger }, () => undefined);
  await until('it has asked', () => asked || undefined);
  await ended(watch.stop());
  expect(asked).toBe(true);
});
