// Preload (`--import`): this process believes that it is CLOCK_SKEW_MS later than it is. Timers and performance.now() go on
// as they are, as on a machine whose clock is wrong but runs at the right speed.
const skewMs = Number(process.env.CLOCK_SKEW_MS);
const RealDate = Date;

class SkewedDate extends RealDate {
  constructor(...args) {
    if (args.length === 0) super(RealDate.now() + skewMs);
    else super(...args);
  }
  static now() {
    return RealDate.now() + skewMs;
  }
}
globalThis.Date = SkewedDate;
