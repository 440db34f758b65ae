import { expect, test } from 'vitest';
import { readSettings } from '../../src/settings.ts';

const REDIS_URL = 'redis://127.0.0.1';

test.each([
  'mongodb://127.0.0.1:27017/?replicaSet=rs0',
  'mongodb://db1,db2,db3/?replicaSet=rs0',
  'mongodb://db1:27017,db2:27017,db3:27017/?replicaSet=rs0',
  'mongodb://user:p%40ss@db1:27017,db2:27018/admin?replicaSet=rs0&tls=true',
  'mongodb+srv://user:secret@cluster.example.org/?retryWrites=true',
  'mongodb://db1:27017,db2:27017',
])('MONGODB_URL may name one host or several: %s', (url) => {
  expect(readSettings({ MONGODB_URL: url, REDIS_URL }).mongodb.url).toBe(url);
});

test.each(['http://db1/', 'mongodb:/db1', 'mongodb://', 'mongodb:///x', 'db1:27017', 'mongodb://db 1/'])(
  'MONGODB_URL is refused as "%s", by its name',
  (url) => {
    expect(() => readSettings({ MONGODB_URL: url, REDIS_URL })).toThrow(
      expect.objectContaining({ code: 'SETTINGS_INVALID', message: expect.stringContaining('MONGODB_URL') }),
    );
  },
);
