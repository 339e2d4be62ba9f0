/* Shares are sampled, totals are counted: the samples of one dump, brought to what its census says.
 *
 * Of each size class the dump knows how many blocks are live. Its samples only tell whose they are:
 * a site's part of the class is its part of the samples' weights. Blocks larger than the classes go
 * are one class, by bytes. What the sites have then adds up to the census, but for classes of which
 * nothing was sampled, and for the bytes by which blocks were rounded up. */
#ifndef ANALYZE_CALIBRATE_H
#define ANALYZE_CALIBRATE_H

#include "analyze/sites.h"

/* What is brought to its count. */
enum calibrate_of {
    CALIBRATE_LIVE,
    CALIBRATE_LEAKED, /* what nothing leads to: of a dump for which leaks were looked for */
    CALIBRATE_INDIRECT,
    CALIBRATE_WAYS
};

/* What is there and no site's. */
struct calibration {
    bool done;              /* false: estimates are as the samples give them */
    double rounding_bytes;  /* of the sites' blocks, beyond what was asked for */
    double unsampled_bytes; /* in classes without a sample, as rounded up */
    double unsampled_objects;
};

/* Adds the live samples of the newer dump to their sites: to `live`, or to `leaked`. */
void calibrate_samples(struct sites *sites, enum calibrate_of of, struct calibration *calibration);

#endif
