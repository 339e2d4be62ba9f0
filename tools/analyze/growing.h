/* Which sites only ever grow, by one dump: blocks that are still reachable, and that nobody will
 * free, as in a list that is added to and never emptied.
 *
 * A dump has no past, but its blocks have ages. Blocks of a site that only grows are from all of
 * the process's life, as many from each part as from any other. Blocks that come and go are from
 * its end; what was set up is from its beginning. So the time after the warm-up is cut into SLICES
 * equal parts, and a site grows if none of them has less than a fifth of what the others have on
 * average: each part is held against that by the binomial distribution, and the least certain of
 * them is the site's p-value. (That is an intersection-union test: it takes no correction for the
 * number of parts.) Some twenty samples can show it if they are spread evenly, sixty nearly always
 * do.
 *
 * Samples differ in what they stand for; they count as so many that are alike (see estimate.h).
 *
 * Blocks that live very long and are freed in the end may be from all parts, too. They are told by
 * what was freed of the site: if that had lived for longer than a part, it counts against it.
 *
 * The warm-up ends with the bend in the series of the heap (trend.h), and takes a tenth of the time
 * at least. Many sites are looked at: of those that are listed, one in twenty may be none
 * (Benjamini and Hochberg). */
#ifndef ANALYZE_GROWING_H
#define ANALYZE_GROWING_H

#include "analyze/sites.h"

struct growing {
    const struct site *site;
    double bytes, objects; /* reachable and from after the warm-up, as the site's are calibrated */
    double slope_bytes_per_hour;
    double p_value; /* that it looks like this and does not grow */
};

/* `sites`: by stack, with the live samples of `dump`, its newer one, calibrated. The list is with
 * malloc, what grows fastest first. */
void growing_find(const struct sites *sites, const struct dump *dump, struct growing **list,
                  size_t *count);

#endif
