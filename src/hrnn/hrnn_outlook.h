/* hrnn-3: what the network's training looks like before a step, from the steps taken t, all that
 * will be taken T (the horizon; 0: nobody knows) and the losses of the batches so far; and what a
 * model makes of it: biases of the three RNNs, of the readout of the learning rate, and the
 * schedule that multiplies the step. Once a step for the whole network, on the host. */
#ifndef HRNN_OUTLOOK_H
#define HRNN_OUTLOOK_H

#include <stdint.h>

#include "hrnn/hrnn_model.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The numbers of an outlook. Those of the horizon are 0 without one, those of losses until there
 * have been two; so are those that the model is without. */
enum {
    OUTLOOK_PROGRESS = 0, /* tanh(10(t/T − c)) for c = 0.05, 0.2, 0.4, 0.6, 0.8, 0.95 */
    OUTLOOK_LENGTH = 6,   /* log(T)/4 − 2 */
    OUTLOOK_LEFT,         /* log(1 + T − t)/8 − 1/2 */
    /* Of neighbouring averages i and i+1 of the loss, the first with the shorter half-life: */
    OUTLOOK_SLOPE = HRNN_PROGRESS, /* 4(μ_i − μ_i+1)/(|μ_i| + |μ_i+1|) in [−1, 1]: 3 numbers */
    OUTLOOK_TREND = OUTLOOK_SLOPE + 3, /* √h_i/8·(μ_i − μ_i+1)/√v_i+1 in [−1, 1]: 3 numbers */
    OUTLOOK_NOISE = OUTLOOK_TREND + 3, /* log(√v_1/|μ_1| + 1e-3)/4, at most 1 */
};

/* Averages of the loss and of its squared distance from them, with half-lives of
 * h_i = 10·(max(T, 10)/10)^(i/3) steps (T = 1,000 where it is not known); plain means at first. As
 * a checkpoint has them. */
enum { LOSS_AVERAGES = 4 };
typedef struct {
    float mean[LOSS_AVERAGES], variance[LOSS_AVERAGES], count;
} hrnn_losses;

typedef struct {
    float inputs[HRNN_OUTLOOK];
    float param_bias[3 * HRNN_H0], tensor_bias[3 * HRNN_H1], global_bias[3 * HRNN_H2];
    float log_lr_bias;
    float schedule; /* (1 − t/T)·e^s, s = Σ weight·(the numbers of t and T) in [−3, 3]; 1 without a
                       horizon */
} hrnn_outlook;

/* Takes in the loss of a batch; one that is not finite (NAN: nobody knows) changes nothing. */
void hrnn_note_loss(hrnn_losses *losses, uint64_t horizon, float loss);

void hrnn_look_out(hrnn_outlook *outlook, const hrnn_model *model, const hrnn_losses *losses,
                   uint64_t steps, uint64_t horizon);

#ifdef __cplusplus
}
#endif
#endif
