// Stands between Millrace and one embedded server, in a session of its own: Ctrl-C at the terminal does not reach it,
// and the end of its standard input (the parent stopped, crashed or was killed by SIGKILL) ends the server.
// Plain JavaScript, so that it starts in a bare `node` without a loader.
//
// usage: node supervisor.mjs LOG_FILE GRACE_MS BINARY [ARGS…]
// Writes {"pid":…} as one line when the server runs, {"failed":…} when it could not be started.
import { spawn } from 'node:child_process';
import { openSync } from 'node:fs';

const [logFile, graceMs, binary, ...args] = process.argv.slice(2);
const log = openSync(logFile, 'a');
const server = spawn(binary, args, { stdio: ['ignore', log, log] });

// The parent may be gone when this is written; that must not keep the server from being stopped.
process.stdout.on('error', () => undefined);
server.on('spawn', () => process.stdout.write(`${JSON.stringify({ pid: server.pid })}\n`));
server.on('error', (error) => {
  process.stdout.write(`${JSON.stringify({ failed: error.message })}\n`);
  process.exitCode = 1;
  process.stdin.destroy();
});
server.on('exit', (code, signal) => {
  process.exitCode = code ?? (signal === 'SIGTERM' ? 0 : 1);
  process.stdin.destroy();
});

let stopping = false;
function stop() {
  if (stopping) return;
  stopping = true;
  server.kill('SIGTERM');
  setTimeout(() => server.kill('SIGKILL'), Number(graceMs)).unref();
}

process.stdin.on('end', stop).on('close', stop).on('error', stop).resume();
for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP']) process.on(signal, stop);
