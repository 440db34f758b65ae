// node scripts/count-tests.mjs REPORT: the closing line of .ci/run, from vitest's JSON report. Fails when there is none,
// when no test ran, and when one failed.
import { readFileSync } from 'node:fs';

const [file] = process.argv.slice(2);
let report;
try {
  report = JSON.parse(readFileSync(file, 'utf8'));
} catch {
  console.log('the test run left no report');
  console.log('0 passed, 1 failed');
  process.exit(1);
}
const broken = report.testResults.filter(
  ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
).length;
const passed = report.numPassedTests;
// A file that could not be loaded has no tests to count, and counts as one.
const failed = report.numFailedTests + broken;
const skipped = report.numPendingTests + report.numTodoTests;
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exit(failed > 0 || passed === 0 || !report.success ? 1 : 0);
