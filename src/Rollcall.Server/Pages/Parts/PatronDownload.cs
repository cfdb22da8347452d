using System.Globalization;
using System.Text;
using Rollcall.Districts;
using Rollcall.Patrons;
using Rollcall.Patrons.Erasure;
using Rollcall.Server.Commands;

namespace Rollcall.Server.Pages.Parts;

/// <summary>Patrons as a file, the ones that an address asks for.</summary>
internal static class PatronDownload
{
    /// <summary>Under this name an address has the operation that is to remove the patrons who are meant.</summary>
    public const string Removal = "removal";

    /// <summary>Whom an operation has planned to remove, as a file that can be imported again.</summary>
    public static string OfRemoval(long operation) =>
        string.Create(CultureInfo.InvariantCulture, $"/patron/export?format=csv&{Removal}={operation}");

    /// <summary>Everything that is kept of one person.</summary>
    public static async Task SendOneAsync(HttpContext http, Here here, PatronErasure erasure)
    {
        if (!await here.LoadAsync(http))
        {
            http.Response.StatusCode = StatusCodes.Status404NotFound;
            return;
        }

        string data;
        try
        {
            data = await erasure.DataAsync(here.District, http.Request.Query["barcode"].ToString(), here.Actor, http.RequestAborted);
        }
        catch (RollcallException e)
        {
            http.Items[ErrorModel.WordsKey] = e.Message;
            http.Response.StatusCode = StatusCodes.Status404NotFound;
            return;
        }

        http.Response.ContentType = "application/json; charset=utf-8";
        http.Response.Headers.ContentDisposition = $"attachment; filename=\"rollcall-person-{here.Today:yyyy-MM-dd}.json\"";
        await http.Response.WriteAsync(data, http.RequestAborted);
    }

    public static async Task SendAsync(HttpContext http, Here here, PatronService patrons, SiteService sites)
    {
        var format = http.Request.Query["format"].ToString();
        if (format is not ("csv" or "jsonl") || !await here.LoadAsync(http))
        {
            http.Response.StatusCode = StatusCodes.Status404NotFound;
            return;
        }

        var all = await sites.ListAsync(here.District.Id, http.RequestAborted);
        var query = PatronQuery.Of(http.Request.Query, all);
        var filter = query.Filter with
        {
            Sites = here.Sites,
            InRemoval = long.TryParse(http.Request.Query[Removal], NumberStyles.None, CultureInfo.InvariantCulture, out var removal)
                ? removal
                : null,
        };
        var file = string.Create(CultureInfo.InvariantCulture, $"rollcall-patrons-{here.Today:yyyy-MM-dd}.{format}");
        await patrons.NoteExportAsync(
            here.District.Id,
            file,
            filter.InWords(query.Site?.Name, kept: true),
            await patrons.CountAsync(here.District.Id, filter, http.RequestAborted),
            here.Actor,
            http.RequestAborted
        );
        http.Response.Headers.ContentDisposition = $"attachment; filename=\"{file}\"";
        await WriteAsync(http, format, PatronWords.CsvLabels, here.District, filter, patrons, sites);
    }

    /// <summary>The file itself, <c>csv</c> or <c>jsonl</c>.</summary>
    public static async Task WriteAsync(
        HttpContext http,
        string format,
        string header,
        District district,
        PatronFilter filter,
        PatronService patrons,
        SiteService sites
    )
    {
        var byId = (await sites.ListAsync(district.Id, http.RequestAborted)).ToDictionary(s => s.Id);
        http.Response.ContentType = format == "csv" ? "text/csv; charset=utf-8" : "application/x-ndjson; charset=utf-8";
        await using var writer = new StreamWriter(http.Response.Body, new UTF8Encoding(false), 32 * 1024)
        {
            NewLine = format == "csv" ? "\r\n" : "\n",
        };
        if (format == "csv")
        {
            // Spreadsheets take a file without this mark for the code page of the machine.
            await writer.WriteAsync('\uFEFF');
            await writer.WriteLineAsync(header);
        }

        await foreach (var patron in patrons.AllAsync(district.Id, filter, http.RequestAborted))
        {
            await writer.WriteLineAsync(format == "csv" ? PatronWords.CsvLine(patron, byId) : JsonText.Line(PatronWords.Of(patron, byId)));
        }
    }
}
