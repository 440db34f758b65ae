// node scripts/count-tests.mjs REPORT…: the closing line of .ci/run, from vitest's JSON reports. Fails when one is missing,
// when no test ran in one, and when a test failed.
import { readFileSync } from 'node:fs';

let [passed, failed, skipped] = [0, 0, 0];
let whole = true;
for (const file of process.argv.slice(2)) {
  let report;
  try {
    report = JSON.parse(readFileSync(file, 'utf8'));
  } catch {
    console.log('the test run left no report');
    failed += 1;
    continue;
  }
  const broken = report.testResults.filter(
    ({ status, assertionResults }) => status === 'failed' && !assertionResults.some((test) => test.status === 'failed'),
  ).length;
  passed += report.numPassedTests;
  // A file that could not be loaded has no tests to count, and counts as one.
  failed += report.numFailedTests + broken;
  skipped += report.numPendingTests + report.numTodoTests;
  whole &&= report.success && report.numPassedTests > 0;
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exit(failed > 0 || passed === 0 || !whole ? 1 : 0);
