// Thread: the calling thread, about itself. What the kernel's scheduler is asked for.
#pragma once

namespace culvert::engine {

/**
 * Asks for short turns, so that this thread runs soon after it is woken even while others compute: the queue in front
 * of it holds only some milliseconds' worth of packets. It gets no more CPU time than before, and needs no privilege.
 * Does nothing where an operator chose a real-time policy, and before Linux 6.12.
 */
void request_short_turns();

/** Asks for timers that are not late by the 50 µs that the kernel otherwise allows itself, to wake many at once. */
void request_exact_timers();

}  // namespace culvert::engine
