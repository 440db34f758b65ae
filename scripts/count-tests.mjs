// node scripts/count-tests.mjs REPORT…: the end of what .ci/run prints, from vitest's JSON reports: each failure by its file, name and
// message (a log is often cut to its end), then the closing line. Fails when a report is missing, when no test ran in one, and when
// a test failed.
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const MESSAGE_LINES = 12;
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
  for (const { name, status, message = '', assertionResults } of report.testResults) {
    const tests = assertionResults.filter((test) => test.status === 'failed');
    for (const test of tests) tell(name, test.fullName, test.failureMessages.join('\n'));
    if (status !== 'failed' || tests.length > 0) continue;
    // A file that could not be loaded has no tests to count, and counts as one.
    failed += 1;
    tell(name, 'the file as a whole', message);
  }
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  skipped += report.numPendingTests + report.numTodoTests;
  whole &&= report.success && report.numPassedTests > 0;
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exit(failed > 0 || passed === 0 || !whole ? 1 : 0);

/** @param {string} file @param {string} test @param {string} message */
function tell(file, test, message) {
  const lines = stripVTControlCharacters(message).split('\n');
  console.log(`FAILED ${relative(process.cwd(), file)} › ${test}\n  ${lines.slice(0, MESSAGE_LINES).join('\n  ')}`);
}
