"""A classifier of digits in Lightning."""

import lightning as L
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from attent.data import digits  # stands for your data


class Classifier(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.net = nn.Sequential(nn.Flatten(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 10))

    def training_step(self, batch, batch_idx):
        x, y = batch
        loss = nn.functional.cross_entropy(self.net(x), y)
        self.log("train_loss", loss)
        return loss

    def validation_step(self, batch, batch_idx):
        x, y = batch
        self.log("accuracy", (self.net(x).argmax(1) == y).float().mean())

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.parameters())
        steps = self.trainer.estimated_stepping_batches
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=1e-2, total_steps=steps)
        return [optimizer], [{"scheduler": schedule, "interval": "step"}]


x, y, x_test, y_test = (torch.tensor(part) for part in digits())
train = DataLoader(TensorDataset(x / 16, y.long()), batch_size=32, shuffle=True)
test = DataLoader(TensorDataset(x_test / 16, y_test.long()), batch_size=360)
trainer = L.Trainer(max_epochs=5, accelerator="cpu")
trainer.fit(Classifier(), train, test)
