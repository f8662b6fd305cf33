"""Weights published by others, on their way into our models.

    safe_pickle.py    pickles read without running anything that stands in them
    torch_file.py     torch's files, both forms -> {name: array}
    pickle_file.py    Detectron2's pickles -> {name: array}
    mapping.py        {name: array} and our paths -> {our path: array}, every tensor accounted for
    torchvision.py    which of torchvision's tensors is which of ours
    detectron2.py     the same for Detectron2
    published.py      the published models: file, checksum, score, licence
    recognise.py      which of them a file is
    converter.py      the whole way, from a file to a checkpoint's folder
    models/           the configuration of each model

Everything but the last step works without TensorFlow; nothing here needs torch.
"""
