// Tells each test, and at the end how many passed and failed, in the words of other runners.

export default async function* report(source) {
  let passed = 0;
  let failed = 0;
  let skipped = 0;
  for await (const { type, data } of source) {
    const isSuite = data?.details?.type === "suite";
    if (type === "test:stderr" || type === "test:stdout") yield data.message;
    if (type === "test:pass" && !isSuite) {
      if (data.skip !== undefined || data.todo !== undefined) skipped += 1;
      else passed += 1;
      yield `ok ${data.name} (${Math.round(data.details.duration_ms)} ms)\n`;
    }
    if (type === "test:fail" && !isSuite) {
      failed += 1;
      yield `FAILED ${data.name}\n${data.details.error?.cause?.stack ?? data.details.error}\n`;
    }
  }
  if (skipped > 0) yield `${skipped} skipped\n`;
  yield `${passed} passed\n`;
  if (failed > 0) yield `${failed} failed\n`;
}
