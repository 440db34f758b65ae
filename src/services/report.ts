/** Where the set-up of servers tells what it does. */
export interface Report {
  /** One line of plain text, without a newline. */
  line(text: string): void;
  /** A download or another step with a known end. `totalBytes` 0: unknown. */
  progress(label: string, totalBytes: number): Progress;
}

export interface Progress {
  /** Bytes done so far, counted from the start. */
  update(doneBytes: number): void;
  end(): void;
}

export const silentReport: Report = {
  line: () => undefined,
  progress: () => ({ update: () => undefined, end: () => undefined }),
};

/** Lines to `stream`; a bar (cli-progress) where it is a terminal, else a line each quarter. */
export async function terminalReport(stream: NodeJS.WriteStream = process.stderr): Promise<Report> {
  const bars = stream.isTTY ? await import('cli-progress').catch(() => undefined) : undefined;
  const line = (text: string) => {
    stream.write(`${text}\n`);
  };
  return {
    line,
    progress: (label, totalBytes) => {
      if (bars === undefined || totalBytes === 0) return lineProgress(line, label, totalBytes);
      const format = `  ${label} {bar} {percentage}% of ${megabytes(totalBytes)}`;
      const bar = new bars.default.SingleBar(
        { format, stream, clearOnComplete: true, hideCursor: true },
        bars.default.Presets.shades_classic,
      );
      bar.start(totalBytes, 0);
      return { update: (doneBytes) => bar.update(Math.min(doneBytes, totalBytes)), end: () => bar.stop() };
    },
  };
}

function lineProgress(line: (text: string) => void, label: string, totalBytes: number): Progress {
  const size = totalBytes === 0 ? '' : ` (${megabytes(totalBytes)})`;
  line(`  ${label}${size} …`);
  let quarters = 0;
  return {
    update: (doneBytes) => {
      const now = totalBytes === 0 ? 0 : Math.min(3, Math.floor((doneBytes * 4) / totalBytes));
      if (now <= quarters) return;
      quarters = now;
      line(`  ${label} ${now * 25}%`);
    },
    end: () => undefined,
  };
}

function megabytes(bytes: number): string {
  return `${(bytes / 1_000_000).toFixed(1)} MB`;
}
