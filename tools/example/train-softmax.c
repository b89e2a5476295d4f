/* libhrnn without Darknet: softmax regression on Fashion-MNIST, 500 batches of 64, without a
 * learning rate.
 *   make install PREFIX=$HOME/.local
 *   export PKG_CONFIG_PATH=$HOME/.local/lib/pkgconfig
 *   cc -O2 tools/example/train-softmax.c $(pkg-config --cflags --libs hrnn) -lz -lm
 *   ./a.out /usr/share/datasets/fashion-mnist ~/.local/share/hrnn/hrnn.safetensors */
#include <hrnn/optimizer.h>
#include <math.h>
#include <stdio.h>
#include <zlib.h>

enum { PIXELS = 784, CLASSES = 10, TRAIN = 60000, TEST = 10000, BATCH = 64, BATCHES = 500 };
static unsigned char images[TRAIN + TEST][PIXELS], labels[TRAIN + TEST];
static float weights[PIXELS][CLASSES], biases[CLASSES], weights_grad[PIXELS][CLASSES],
    biases_grad[CLASSES];

static int load(const char *folder, const char *name, int header, void *to, unsigned bytes)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s.gz", folder, name);
    gzFile file = gzopen(path, "rb");
    int whole =
        file && gzseek(file, header, SEEK_SET) == header && gzread(file, to, bytes) == (int)bytes;
    if (file) gzclose(file);
    return whole ? 1 : (fprintf(stderr, "%s: cannot be read\n", path), 0);
}

/* The probabilities of image i, less 1 for its class: the gradient by the logits. Returns its
 * loss. */
static double forward(int i, float p[CLASSES], int *best)
{
    double sum = 0;
    *best = 0;
    for (int c = 0; c < CLASSES; c++) {
        p[c] = biases[c];
        for (int k = 0; k < PIXELS; k++) p[c] += images[i][k] / 255.f * weights[k][c];
        if (p[c] > p[*best]) *best = c;
    }
    const float most = p[*best];
    for (int c = 0; c < CLASSES; c++) sum += p[c] = expf(p[c] - most);
    for (int c = 0; c < CLASSES; c++) p[c] /= (float)sum;
    const double loss = -log(p[labels[i]] + 1e-30);
    p[labels[i]] -= 1;
    return loss;
}

int main(int argc, char **argv)
{
    if (argc != 3) return fprintf(stderr, "usage: train-softmax FOLDER MODEL.safetensors\n"), 2;
    if (!load(argv[1], "train-images-idx3-ubyte", 16, images, TRAIN * PIXELS) ||
        !load(argv[1], "t10k-images-idx3-ubyte", 16, images[TRAIN], TEST * PIXELS) ||
        !load(argv[1], "train-labels-idx1-ubyte", 8, labels, TRAIN) ||
        !load(argv[1], "t10k-labels-idx1-ubyte", 8, labels + TRAIN, TEST))
        return 1;
    /* The gradients are summed over a batch; the mean is what the optimizer wants. */
    const opt_tensor tensors[] = {
        {"weights", weights[0], weights_grad[0], PIXELS * CLASSES, 1.f / BATCH, 1e-4f, 1},
        {"biases", biases, biases_grad, CLASSES, 1.f / BATCH, 0, 1}};
    opt_options options = opt_default_options("hrnn");
    options.model = argv[2];
    opt_error error;
    optimizer *opt = opt_create(&options, tensors, 2, &error);
    if (!opt) return fprintf(stderr, "%s\n", error.message), 1;
    opt_set_horizon(opt, BATCHES);
    float p[CLASSES];
    int best, right = 0;
    for (int batch = 0; batch < BATCHES; batch++) {
        double loss = 0;
        for (int b = 0; b < BATCH; b++) {
            const int i = (batch * BATCH + b) % TRAIN;
            loss += forward(i, p, &best) / BATCH;
            for (int k = 0; k < PIXELS; k++)
                for (int c = 0; c < CLASSES; c++) weights_grad[k][c] += p[c] * images[i][k] / 255.f;
            for (int c = 0; c < CLASSES; c++) biases_grad[c] += p[c];
        }
        opt_step(opt, (float)loss, 1, NULL); /* the gradients are zero again */
        if (batch % 100 == 99) printf("batch %d: loss %.3f\n", batch + 1, loss);
    }
    opt_show_true(opt); /* only a model with attention trains elsewhere than it is used */
    for (int i = TRAIN; i < TRAIN + TEST; i++) right += (forward(i, p, &best), best == labels[i]);
    printf("%.2f %% of %d test images\n", 100. * right / TEST, TEST);
    opt_free(opt);
    return 0;
}
