/* Networks for images, drawn at random. */
#ifndef META_IMAGE_NETWORKS_H
#define META_IMAGE_NETWORKS_H

#include "base/random_stream.h"
#include "problems/net.h"

/* A network of that kind on images of [channels][side][side]; its last layer is dense, one unit a
 * class. Any size: a caller with limits draws until one is within. */
void image_network_draw(random_stream *stream, network_kind kind, int channels, int side,
                        int classes, net_spec *net);

/* A detector on images of [3][side][side], side = 4·grid: 3 to 6 convolutions, all normalised or
 * none, then for each cell of [grid][grid] an objectness, a box and the classes, by a convolution
 * or by a dense layer. */
void image_detector_draw(random_stream *stream, int side, int grid, int classes, net_spec *net);

#endif
