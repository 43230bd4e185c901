/** What the kernel says a process has used, all of its threads together. */
import { readFileSync } from "node:fs";

/** Seconds of CPU in user and kernel mode since the process started; threads that ended are included (proc(5)). */
export function cpuSeconds(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  // The command name may hold spaces and parentheses: fields count from the last one.
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
}

/** Resident memory, bytes. */
export function residentBytes(pid: number): number {
  const line = /^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  if (!line) throw new Error(`process ${pid} has no resident memory: it ended`);
  return Number(line[1]) * 1024;
}

/** USER_HZ: 100 on every architecture that Linux runs on today. */
const ticksPerSecond = 100;
