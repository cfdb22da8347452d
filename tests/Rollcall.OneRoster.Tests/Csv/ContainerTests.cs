using System.Buffers.Binary;
using System.IO.Compression;
using System.Text;
using Rollcall.OneRoster.Csv;

namespace Rollcall.OneRoster.Tests.Csv;

/// <summary>Archives that are damaged, or made to do harm.</summary>
public sealed class ContainerTests
{
    private static string Refusal(byte[] bytes, CsvLimits? limits = null)
    {
        using var folder = new Folder();
        using var package = CsvPackage.Read(
            folder.Write("bad.zip", bytes),
            DateTimeOffset.UnixEpoch,
            limits,
            TestContext.Current.CancellationToken
        );
        Assert.False(package.IsUsable);
        Assert.Equal("Fail", package.Report.Status);
        return string.Join('\n', package.Findings.Where(f => f.Severity == CsvSeverity.Refusal));
    }

    private static byte[] Zip(params (string Name, string Text)[] entries)
    {
        using var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            foreach (var (name, text) in entries)
            {
                var entry = zip.CreateEntry(name);
                using var stream = entry.Open();
                stream.Write(Encoding.UTF8.GetBytes(text));
            }
        }

        return bytes.ToArray();
    }

    [Theory]
    [InlineData("../users.csv")]
    [InlineData("a/../../users.csv")]
    [InlineData("..\\users.csv")]
    [InlineData("/etc/users.csv")]
    [InlineData("C:\\users.csv")]
    [InlineData("us\u0001ers.csv")]
    public void Names_that_lead_out_are_refused(string name) =>
        Assert.Contains("has a name that leads out of it", Refusal(Zip((name, "a"))), StringComparison.Ordinal);

    [Fact]
    public void Damage_is_told_for_what_it_is()
    {
        var whole = Bundle.Of("1.1").ToZip();
        Assert.Contains("no zip archive, or its end is missing", Refusal(whole[..(whole.Length / 2)]), StringComparison.Ordinal);
        Assert.Contains("the file is empty", Refusal([]), StringComparison.Ordinal);
        Assert.Contains("no zip archive", Refusal("sourcedId,status"u8.ToArray()), StringComparison.Ordinal);

        // The checksum of the first entry in the directory.
        var wrong = (byte[])whole.Clone();
        wrong[wrong.AsSpan().IndexOf("PK\x01\x02"u8) + 16] ^= 1;
        Assert.Contains("does not fit its checksum", Refusal(wrong), StringComparison.Ordinal);

        // The directory gone, only the last record left.
        var at = whole.AsSpan().LastIndexOf("PK\x05\x06"u8);
        Assert.Contains("damaged", Refusal(whole[at..]), StringComparison.Ordinal);
    }

    [Fact]
    public void Duplicates_links_encryption_and_folders_are_refused()
    {
        var two = Zip(("users.csv", "a"), ("USERS.csv", "b"));
        Assert.Contains("more than one file of the name", Refusal(two), StringComparison.Ordinal);
        Assert.Contains("in several folders", Refusal(Zip(("a/users.csv", "a"), ("b/orgs.csv", "b"))), StringComparison.Ordinal);

        var encrypted = Bundle.Of("1.1").ToZip();
        for (var at = 0; (at = encrypted.AsSpan(at).IndexOf("PK\x01\x02"u8) is var found && found >= 0 ? at + found : -1) >= 0; at += 4)
        {
            encrypted[at + 8] |= 1;
        }

        Assert.Contains("encrypted", Refusal(encrypted), StringComparison.Ordinal);

        using var bytes = new MemoryStream();
        using (var zip = new ZipArchive(bytes, ZipArchiveMode.Create, leaveOpen: true))
        {
            var link = zip.CreateEntry("users.csv");
            link.ExternalAttributes = unchecked((int)(0xA1FFu << 16));
        }

        Assert.Contains("symbolic link", Refusal(bytes.ToArray()), StringComparison.Ordinal);
    }

    [Fact]
    public void Bombs_are_refused_before_they_go_off()
    {
        var zeros = new string('0', 8 * 1024 * 1024);
        Assert.Contains("many times its size", Refusal(Zip(("users.csv", zeros))), StringComparison.Ordinal);
        Assert.Contains(
            "inflates to more than",
            Refusal(Zip(("users.csv", zeros)), new CsvLimits { FileBytes = 1024 * 1024 }),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "300 entries; at most 256",
            Refusal(Zip([.. Enumerable.Range(0, 300).Select(i => ($"{i}.csv", "a"))])),
            StringComparison.Ordinal
        );

        // A directory that states a small size for much: found when it comes out.
        var lying = Zip(("users.csv", zeros));
        var at = lying.AsSpan().IndexOf("PK\x01\x02"u8);
        BinaryPrimitives.WriteInt32LittleEndian(lying.AsSpan(at + 24), 1000);
        Assert.Contains("users.csv", Refusal(lying), StringComparison.Ordinal);

        // One field of everything.
        Assert.Contains(
            "longer than 65536 characters",
            Refusal(Bundle.Of("1.1").Put("users.csv", "sourcedId,\"" + new string('x', 100_000)).ToZip()),
            StringComparison.Ordinal
        );
        Assert.Contains(
            "more than 1024 columns",
            Refusal(Bundle.Of("1.1").Put("users.csv", new string(',', 5000)).ToZip()),
            StringComparison.Ordinal
        );
    }

    [Fact]
    public void What_systems_leave_in_archives_is_passed_over()
    {
        using var folder = new Folder();
        var bundle = Bundle.Of("1.1");
        bundle.Put("__MACOSX/._users.csv", "\0\u0005\u0016");
        using var package = CsvPackage.Read(
            folder.Write("mac.zip", bundle.ToZip("export/")),
            DateTimeOffset.UnixEpoch,
            cancellationToken: TestContext.Current.CancellationToken
        );
        Assert.Equal(["folder-in-archive", "left-over-files"], package.Findings.Select(f => f.Rule).Order(StringComparer.Ordinal));
        Assert.True(package.HasAllPeople);
    }
}
