// node scripts/count-tests.mjs REPORT…: the end of what .ci/run prints, from vitest's JSON reports: each failure, and each
// test that passed only when tried again, by its file, name and message (a log is often cut to its end), then the closing line. Fails when a report is missing, when no test ran in one, and when
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
    for (const test of tests) tell('FAILED', name, test);
    for (const test of assertionResults)
      if (test.status === 'passed' && test.failureMessages.length > 0) tell('FLAKY', name, test);
    if (status !== 'failed' || tests.length > 0) continue;
    // A file that could not be loaded has no tests to count, and counts as one.
    failed += 1;
    tell('FAILED', name, { fullName: 'the file as a whole', failureMessages: [message] });
  }
  passed += report.numPassedTests;
  failed += report.numFailedTests;
  skipped += report.numPendingTests + report.numTodoTests;
  whole &&= report.success && report.numPassedTests > 0;
}
console.log(`${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`);
process.exit(failed > 0 || passed === 0 || !whole ? 1 : 0);

/**
 * @param {'FAILED' | 'FLAKY'} end
 * @param {string} file
 * @param {{ fullName: string, failureMessages: string[] }} test
 */
function tell(end, file, { fullName, failureMessages }) {
  const lines = stripVTControlCharacters(failureMessages.join('\n')).split('\n');
  console.log(`${end} ${relative(process.cwd(), file)} › ${fullName}\n  ${lines.slice(0, MESSAGE_LINES).join('\n  ')}`);
}
