using System.Text;
using Microsoft.AspNetCore.Mvc;
using Rollcall.Patrons;
using Rollcall.Server.Pages.Parts;

namespace Rollcall.Server.Pages;

/// <summary>Patrons from a file: choose it, match its columns, look at the preview. The text travels with the form, so that any node can take the next step.</summary>
[RequestSizeLimit(MostBytes * 4)]
[RequestFormLimits(MultipartBodyLengthLimit = MostBytes * 4, ValueLengthLimit = (int)MostBytes * 4)]
internal sealed class PatronImportModel(Here here, PatronImport import) : RollcallPage(here)
{
    /// <summary>Larger files are the command line's.</summary>
    public const long MostBytes = 8 * 1024 * 1024;

    /// <summary>What to do about one.</summary>
    public const string TooLarge = "A file has 8 MB at most. Split it, or import it on the server: rollcall patron import FILE.";

    /// <summary>The file's text; null before one is chosen.</summary>
    public string? FileText { get; private set; }
    public string FileName { get; private set; } = "";
    public IReadOnlyList<ImportColumn> Columns { get; private set; } = [];

    /// <summary>The field chosen for each column; blank leaves it out.</summary>
    public IReadOnlyList<string> Chosen { get; private set; } = [];
    public int Rows { get; private set; }
    public string? Problem { get; private set; }
    public IReadOnlyList<string> Problems { get; private set; } = [];

    /// <summary>Fields that a file can fill, with what screens call them; those alone that the visitor may set.</summary>
    public IEnumerable<PatronField> Fields => PatronFields.All.Where(Sets);

    /// <summary>Columns that are left out because the visitor may not set what is in them.</summary>
    public IReadOnlyList<string> NotTheirs => [.. Columns.Where(c => c.Field is { } set && !Sets(set)).Select(c => c.Field!.Label)];

    private bool Sets(PatronField field) => Here.May(Need.DistrictAdministrator) || !IsOfAdministrators(field);

    private static bool IsOfAdministrators(PatronField? field) =>
        field?.Number is PatronFields.Group or PatronFields.SiteAccess or PatronFields.Guid;

    public async Task<IActionResult> OnPostFileAsync(IFormFile? file)
    {
        if (file is null || file.Length == 0)
        {
            Problem = "Choose a file with patrons in it.";
        }
        else if (file.Length > MostBytes)
        {
            Problem = $"The file is too large. {TooLarge}";
        }
        else
        {
            FileName = Path.GetFileName(file.FileName);
            await using var stream = file.OpenReadStream();
            await InspectAsync(stream);

            // Of two columns that mean one field (home phone and mobile), the first is proposed and the other left out.
            Chosen =
            [
                .. Columns.Select(
                    (c, i) => Columns.Take(i).All(b => b.Field != c.Field) && c.Field is { } field && Sets(field) ? field.Name : ""
                ),
            ];
        }

        return Page();
    }

    public async Task<IActionResult> OnPostMatchAsync(string? content, string? fileName, string[] column)
    {
        FileName = Path.GetFileName(fileName ?? "") is { Length: > 0 } name ? name : "patrons.csv";
        using var stream = new MemoryStream(Encoding.UTF8.GetBytes(content ?? ""));
        await InspectAsync(stream);
        Chosen = [.. column.Select(c => c ?? "")];
        if (Problem is not null)
        {
            return Page();
        }

        if (!Here.May(Need.DistrictAdministrator) && Chosen.Any(c => IsOfAdministrators(PatronFields.Find(c))))
        {
            Problem = "Security Group, Site Access and GUID are changed by a District Administrator. Leave these columns out.";
            return Page();
        }

        try
        {
            stream.Position = 0;
            var id = await import.PlanAsync(DistrictId, stream, FileName, preview: true, Here.Actor, Chosen, cancellationToken: Gone);
            TempData["Said"] = "The file is read. This is the preview: nothing is written before you approve it.";
            return LocalRedirect($"/operations/{id}");
        }
        catch (ImportRefusedException e)
        {
            Problem = e.Message;
            Problems = e.Problems;
            return Page();
        }
    }

    private async Task InspectAsync(Stream stream)
    {
        try
        {
            (FileText, Columns, Rows) = await PatronImport.InspectAsync(stream, Gone);
        }
        catch (ImportRefusedException e)
        {
            (Problem, Problems) = (e.Message, e.Problems);
        }
    }
}
