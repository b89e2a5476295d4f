/* The outlook of a network's training: averages of the loss, numbers, biases, schedule. */
#include "hrnn/hrnn_outlook.h"

#include <math.h>
#include <string.h>

#include "hrnn/hrnn_vector.h"

static double half_life(uint64_t horizon, int average)
{
    const double steps = horizon ? (double)horizon : 1000;
    return 10 * pow(fmax(steps, 10) / 10, average / (LOSS_AVERAGES - 1.0));
}

void hrnn_note_loss(hrnn_losses *losses, uint64_t horizon, float loss)
{
    if (!isfinite(loss)) return;
    /* Beyond 2^24 a float does not count on, and all shares are the averages' own. */
    losses->count += 1;
    for (int i = 0; i < LOSS_AVERAGES; i++) {
        const double own = 1 - exp2(-1 / half_life(horizon, i)), even = 1 / (double)losses->count;
        const double share = fmax(own, even), mean = (double)losses->mean[i];
        const double away = fmax(fmin((double)loss, 1e15), -1e15) - mean;
        losses->mean[i] = (float)(mean + share * away);
        losses->variance[i] =
            (float)((1 - share) * ((double)losses->variance[i] + share * away * away));
    }
}

static double clip(double x, double most) { return fmax(fmin(x, most), -most); }

static void look_at_horizon(float *inputs, uint64_t steps, uint64_t horizon)
{
    static const double centres[OUTLOOK_LENGTH] = {0.05, 0.2, 0.4, 0.6, 0.8, 0.95};
    const double all = (double)horizon, done = fmin((double)steps, all);
    for (int i = 0; i < OUTLOOK_LENGTH; i++)
        inputs[OUTLOOK_PROGRESS + i] = (float)tanh(10 * (done / all - centres[i]));
    inputs[OUTLOOK_LENGTH] = (float)(log(all) / 4 - 2);
    inputs[OUTLOOK_LEFT] = (float)(log1p(all - done) / 8 - 0.5);
}

static void look_at_losses(float *inputs, const hrnn_losses *losses, uint64_t horizon)
{
    for (int i = 0; i + 1 < LOSS_AVERAGES; i++) {
        const double fast = (double)losses->mean[i], slow = (double)losses->mean[i + 1];
        const double spread = sqrt((double)losses->variance[i + 1]);
        inputs[OUTLOOK_SLOPE + i] =
            (float)clip(4 * (fast - slow) / (fabs(fast) + fabs(slow) + 1e-12), 1);
        inputs[OUTLOOK_TREND + i] =
            (float)clip(sqrt(half_life(horizon, i)) / 8 * (fast - slow) / (spread + 1e-12), 1);
    }
    const double mean = fabs((double)losses->mean[1]), noise = sqrt((double)losses->variance[1]);
    inputs[OUTLOOK_NOISE] = (float)fmin(log(noise / (mean + 1e-12) + 1e-3) / 4, 1);
}

static float schedule(const hrnn_model *model, const float *inputs, uint64_t steps,
                      uint64_t horizon)
{
    double log_factor = 0;
    if (!horizon) return 1;
    if (hrnn_has(model, HRNN_SCHEDULE))
        for (int i = 0; i < HRNN_PROGRESS; i++)
            log_factor += (double)(model->schedule_weight[i] * inputs[i]);
    const double left = 1 - fmin((double)steps / (double)horizon, 1);
    return (float)(left * exp(clip(log_factor, 3)));
}

void hrnn_look_out(hrnn_outlook *outlook, const hrnn_model *model, const hrnn_losses *losses,
                   uint64_t steps, uint64_t horizon)
{
    memset(outlook, 0, sizeof *outlook);
    outlook->schedule = 1;
    if (!hrnn_has_outlook(model)) return;
    float *inputs = outlook->inputs;
    if (horizon) look_at_horizon(inputs, steps, horizon);
    outlook->schedule = schedule(model, inputs, steps, horizon);
    if (!hrnn_has(model, HRNN_HORIZON)) memset(inputs, 0, HRNN_PROGRESS * sizeof *inputs);
    if (hrnn_has(model, HRNN_LOSSES) && losses->count >= 2) look_at_losses(inputs, losses, horizon);
    vector_product(outlook->param_bias, inputs, model->param_from_outlook_weight, HRNN_OUTLOOK,
                   3 * HRNN_H0);
    vector_product(outlook->tensor_bias, inputs, model->tensor_from_outlook_weight, HRNN_OUTLOOK,
                   3 * HRNN_H1);
    vector_product(outlook->global_bias, inputs, model->global_from_outlook_weight, HRNN_OUTLOOK,
                   3 * HRNN_H2);
    for (int k = 0; k < HRNN_OUTLOOK; k++)
        outlook->log_lr_bias += inputs[k] * model->log_lr_from_outlook_weight[k];
}
